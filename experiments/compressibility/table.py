"""The tables of README.md in Markdown: `python -m experiments.compressibility.table [FILE...]`.

Losses at each rate of bits at the better of an optimizer's two learning rates, the sweeps, and the factors the packer
chose.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from experiments.compressibility.variants import FINAL_BITS, RIVALS, SWEEP_BITS, VARIANTS
from experiments.estimates import mean_and_error, welch
from experiments.markdown import markdown
from experiments.records import Record, print_tables

_RANKS = ("piecewise .5", "piecewise .25", "piecewise .1", "piecewise .05", "cosine .25", "fixed .25")
# The columns of the two tables of losses.
_DECAYS = (
    "Muon", "Muon, no decay", "Muon, spectral decay", "NuMuon piecewise .25", "NuMuon piecewise .25, spectral decay",
    "AdamW",
)  # fmt: skip


def tables(rows: list[Record]) -> list[str]:
    """Markdown lines of all tables."""
    finals = finals_of(rows)
    return [
        *_losses(finals, _DECAYS),
        "",
        *_losses(finals, tuple(f"NuMuon {each}" for each in _RANKS)),
        "",
        *_sweeps(rows),
        "",
        *_ranks(finals),
    ]


def finals_of(rows: list[Record]) -> dict[str, list[Record]]:
    """The runs of several seeds, by variant."""
    finals = {v: [r for r in rows if r["final"] and r["variant"] == v] for v in VARIANTS}
    return {variant: found for variant, found in finals.items() if found}


def best(rows: list[Record], bits: float) -> list[Record]:
    """One point a seed, at the learning rate that is best on training windows; float weights count as a rate too."""
    by_rate: dict[float, list[Record]] = {}
    for row in rows:
        for point in row["points"]:
            # the finest pack is what float weights are on training text, within a thousandth
            if point["bits"] == min(bits, FINAL_BITS[-1]):
                measured = {"loss": row["float_loss"], "bpb": row["float_bpb"]} if bits == math.inf else {}
                by_rate.setdefault(row["lr"], []).append(point | measured | {"lr": row["lr"]})
    return min(by_rate.values(), key=lambda points: (-len(points), mean_of(points, "training_loss")), default=[])


def mean_of(points: list[Record], key: str) -> float:
    """Over seeds."""
    return statistics.fmean(point[key] for point in points)


def _losses(finals: dict[str, list[Record]], columns: tuple[str, ...]) -> list[str]:
    """Nats per token, with Welch's p against the rival that is best on training text."""
    columns = tuple(each for each in columns if each in finals)
    lines = []
    for bits in (*FINAL_BITS, math.inf):
        chosen = {variant: points for variant, found in finals.items() if (points := best(found, bits))}
        # the best on training text of those with most seeds
        known = [variant for variant in RIVALS if variant in chosen]
        rival = min(known, key=lambda v: (-len(chosen[v]), mean_of(chosen[v], "training_loss")), default=None)
        cells = [_cell(chosen[each], chosen[rival] if rival else []) if each in chosen else "-" for each in columns]
        lines.append(["float" if bits == math.inf else bits, rival or "-", *cells])
    return markdown(["bits a weight", "best rival", *columns], lines)


def _cell(own: list[Record], rivals: list[Record]) -> str:
    losses, others = [p["loss"] for p in own], [p["loss"] for p in rivals]
    text = mean_and_error(losses, 3)
    if own is rivals:
        return f"**{text}** (lr {own[0]['lr']})"
    p = f"p {welch(losses, others):.3f}; " if min(len(losses), len(others)) > 1 else ""
    return f"{text} ({p}lr {own[0]['lr']})"


def _sweeps(rows: list[Record]) -> list[str]:
    """One seed's validation losses, packed by rounding."""
    lines = []
    for variant in VARIANTS:
        for row in sorted((r for r in rows if r["variant"] == variant and not r["final"]), key=lambda r: r["lr"]):
            losses = (row["float_loss"], *(point["loss"] for point in row["points"]))
            lines.append([variant, row["lr"], *(f"{loss:.4f}" for loss in losses)])
    return markdown(["sweep, seed 1", "lr", "float", *(f"{bits} bits" for bits in SWEEP_BITS)], lines)


def _ranks(finals: dict[str, list[Record]]) -> list[str]:
    """What low-rank factors the packer chose."""
    lines = []
    for variant, rows in finals.items():
        cells = []
        for bits in FINAL_BITS:
            ranks = [rank for row in rows for p in row["points"] if p["bits"] == bits for rank in p["ranks"]]
            kept = [rank for rank in ranks if rank]
            cells.append(f"{len(kept) / len(ranks):.0%}, {statistics.fmean(kept):.0f}" if kept else "-")
        lines.append([variant, *cells])
    return markdown(["share of matrices with factors, their mean rank", *FINAL_BITS], lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
