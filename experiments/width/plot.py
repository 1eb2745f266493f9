"""Packed and float loss against parameters: one line an optimizer."""

from __future__ import annotations

import statistics
from pathlib import Path

from experiments.records import Record
from experiments.width.table import CAP, OPTIMIZERS, WIDTHS, at_best_rates


def plot(rows: list[Record], path: Path) -> None:
    """Draw means over seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    best = at_best_rates(rows)
    figure, panel = plt.subplots(figsize=(7, 4.5))
    for index, variant in enumerate(OPTIMIZERS):
        found = [own for width in WIDTHS if (own := best[variant, width])]
        sizes = [own[0]["parameters"] for own in found]
        for key, style in (("loss", "o-"), ("float_loss", ":")):
            means = [statistics.fmean(r[key] for r in own) for own in found]
            panel.plot(sizes, means, style, color=f"C{index}", markersize=3, label=variant if key == "loss" else None)
    panel.set(xlabel="parameters", ylabel=f"nats per token in {CAP:,} bytes (dotted: float)", xscale="log")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
