"""Bits per byte against bytes: one line an optimizer, dotted its float model."""

from __future__ import annotations

import math
from pathlib import Path

from experiments.compressibility.table import best, finals_of, mean_of
from experiments.compressibility.variants import FINAL_BITS
from experiments.records import Record


def plot(rows: list[Record], path: Path) -> None:
    """Draw means over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(8, 5))
    for index, (variant, found) in enumerate(finals_of(rows).items()):
        chosen = [points for bits in FINAL_BITS if (points := best(found, bits))]
        colour = f"C{index}"
        panel.plot(
            [mean_of(points, "bytes") for points in chosen],
            [mean_of(points, "bpb") for points in chosen],
            "o-",
            color=colour,
            markersize=3,
            label=variant,
        )
        panel.axhline(mean_of(best(found, math.inf), "bpb"), color=colour, linewidth=0.6, linestyle=":")
    panel.set(xlabel="bytes of the artifact", ylabel="bits per byte (dotted: float)", xscale="log")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
