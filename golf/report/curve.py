"""Bits per byte against bytes, as a table and as a PNG plot."""

from __future__ import annotations

import io

from rich.table import Table

from golf.packing.results import Curve
from golf.report.tables import table


def curve_table(curve: Curve) -> Table:
    """One row per size."""
    title = f"{curve.run}: {curve.float_bpb:.4f} bits per byte before packing"
    made = table(title, "bytes", "bits/weight", "bits per byte", "loss gap", "fine-tuned")
    for point in curve.points:
        made.add_row(
            f"{point.size:,}",
            f"{point.bits_per_weight:.3f}",
            f"{point.bpb:.4f}",
            f"{point.loss - curve.float_loss:+.4f}",
            "yes" if point.tuned else "",
        )
    return made


def curve_png(curve: Curve) -> bytes:
    """PNG plot of bits per byte against kilobytes: points with their values, the float model, the recipe's cap."""
    from matplotlib.figure import Figure  # no global state, no window
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    sizes = [point.size / 1000 for point in curve.points]
    axes.plot(sizes, [point.bpb for point in curve.points], "o-", label="packed")
    for size, point in zip(sizes, curve.points, strict=True):
        axes.annotate(f"{point.bpb:.3f}", (size, point.bpb), (0, 6), textcoords="offset points", ha="left", fontsize=8)
    axes.axhline(curve.float_bpb, color="gray", linestyle=":", label=f"float, {curve.float_bpb:.4f}")
    if sizes[0] / 2 <= curve.cap / 1000 <= 2 * sizes[-1]:
        axes.axvline(curve.cap / 1000, color="black", linestyle="--", label=f"cap, {curve.cap / 1000:,g} kB")
    axes.set(xscale="log", xlabel="artifact, kB (1,000 bytes)", ylabel="bits per byte", title=curve.run.name)
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _place: f"{size:.3g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()
