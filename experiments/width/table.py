"""The table of README.md in Markdown: `python -m experiments.width.table [FILE...]`.

Packed loss under one cap by width and optimizer, at the better of the learning rates: mean ± standard error over seeds.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from experiments.estimates import mean_and_error, welch
from experiments.markdown import markdown
from experiments.records import Record, print_tables

CAP = 200_000
WIDTHS = (96, 128, 192, 256)
OPTIMIZERS = ("Muon, no decay", "Muon, spectral decay", "NuMuon piecewise .25, spectral decay")
# The sweep's best for many bits, and for few.
RATES = (0.02, 0.04)


def tables(rows: list[Record]) -> list[str]:
    """Losses, then each optimizer's best width against that of the first."""
    best = at_best_rates(rows)
    lines = [
        [width, f"{found[0]['parameters']:,}", variant, *_cells(found)]
        for width in WIDTHS
        for variant in OPTIMIZERS
        if (found := best[variant, width])
    ]
    head = ("width", "parameters", "optimizer", "packed, nats per token", "float", "bits a weight", "lr", "seeds")
    return [*markdown(head, lines), "", *_best_widths(best)]


def at_best_rates(rows: list[Record]) -> dict[tuple[str, int], list[Record]]:
    """The seeds of each optimizer and width at the learning rate that is best on training windows."""
    best = {}
    for variant in OPTIMIZERS:
        for width in WIDTHS:
            by_rate = [
                [r for r in rows if (r["variant"], r["width"], r["lr"]) == (variant, width, rate)] for rate in RATES
            ]
            best[variant, width] = min(
                (found for found in by_rate if found),
                key=lambda found: (-len(found), statistics.fmean(r["training_loss"] for r in found)),
                default=[],
            )
    return best


def _cells(found: list[Record]) -> list[str]:
    mean = {key: statistics.fmean(r[key] for r in found) for key in ("float_loss", "bits")}
    losses = mean_and_error([r["loss"] for r in found])
    return [losses, f"{mean['float_loss']:.4f}", f"{mean['bits']:.2f}", str(found[0]["lr"]), str(len(found))]


def _best_widths(best: dict[tuple[str, int], list[Record]]) -> list[str]:
    """The best width of every optimizer, with Welch's p against the first's."""
    lines: list[list[Any]] = []
    first: list[Any] = []
    for variant in OPTIMIZERS:
        at_widths = [best[variant, width] for width in WIDTHS if best[variant, width]]
        found = min(at_widths, key=lambda found: statistics.fmean(r["loss"] for r in found), default=[])
        losses = [row["loss"] for row in found]
        first = first or losses
        p = f"{welch(losses, first):.4f}" if min(len(losses), len(first)) > 1 and losses != first else "-"
        if found:
            lines.append([variant, found[0]["width"], mean_and_error(losses), p])
    return markdown(("optimizer", "best width", "packed, nats per token", f"p against {OPTIMIZERS[0]}"), lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
