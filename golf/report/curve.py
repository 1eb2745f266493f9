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
    """PNG plot of bits per byte against bytes, the float model as a line."""
    from matplotlib.figure import Figure  # no global state, no window

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([p.size for p in curve.points], [p.bpb for p in curve.points], "o-", label="packed")
    axes.axhline(curve.float_bpb, color="gray", linestyle=":", label=f"float, {curve.float_bpb:.4f}")
    axes.set(xscale="log", xlabel="bytes", ylabel="bits per byte", title=curve.run.name)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()
