"""The table of README.md in Markdown: `python -m experiments.spectral_decay.table [FILE...]`.

Means ± standard error over seeds; p of a paired t test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from experiments.estimates import mean_and_error, welch
from experiments.markdown import markdown
from experiments.records import Record, print_tables

SEEDS = range(4, 10)


@dataclass(frozen=True)
class Pair:
    """Two optimizers with their learning rates, compared at all rates of bits but the first, which is for slopes."""

    ours: tuple[str, float]
    rival: tuple[str, float]
    rates: tuple[float, ...]


PAIRS = (
    Pair(("Muon, spectral decay", 0.02), ("Muon, no decay", 0.02), (1.0, 1.3, 1.6)),
    Pair(("Muon, spectral decay", 0.04), ("Muon", 0.04), (0.8, 1.0)),
)


def tables(rows: list[Record]) -> list[str]:
    """Differences by seed, and bytes saved at equal loss."""
    found = {(row["variant"], row["lr"], row["seed"]): row for row in rows}
    lines = []
    for pair in PAIRS:
        both = [
            (ours, rival)
            for seed in SEEDS
            if (ours := _losses(found, pair.ours, seed, pair)) and (rival := _losses(found, pair.rival, seed, pair))
        ]
        for lower, bits in pairwise(pair.rates) if len(both) > 1 else ():
            differences = [ours[bits] - rival[bits] for ours, rival in both]
            saved = [100 * saving(ours, rival[bits], lower=lower, bits=bits) for ours, rival in both]
            straight = [100 * saving_straight(ours, rival[bits], lower=lower, bits=bits) for ours, rival in both]
            lines.append(
                [
                    bits,
                    f"{pair.rival[0]} (lr {pair.rival[1]})",
                    mean_and_error([rival[bits] for _, rival in both]),
                    f"{pair.ours[0]} (lr {pair.ours[1]})",
                    mean_and_error([ours[bits] for ours, _ in both]),
                    ", ".join(f"{each:+.4f}" for each in differences),
                    _tested(differences, 4),
                    _tested(saved, 1),
                    _tested(straight, 1),
                ]
            )
    head = (
        "bits a weight", "rival", "nats per token", "ours", "nats per token", "difference by seed", "mean",
        "bytes saved at equal loss, %", "the same by straight lines, %",
    )  # fmt: skip
    return markdown(head, lines)


def _tested(values: list[float], digits: int) -> str:
    return f"{mean_and_error(values, digits)} (p {welch(values, [0.0]):.4f})"


def _losses(
    found: dict[tuple[str, float, int], Any], side: tuple[str, float], seed: int, pair: Pair
) -> dict[float, float]:
    """Loss by bits a weight, the float model's at infinity; empty where a pack is missing."""
    row = found.get((*side, seed), {"points": []})
    losses = {point["bits"]: point["loss"] for point in row["points"]}
    return losses | {math.inf: row["float_loss"]} if losses.keys() >= set(pair.rates) else {}


def saving(losses: dict[float, float], target: float, *, lower: float, bits: float) -> float:
    """Share of the bytes at `bits` that a model saves by coming down to the loss `target`.

    Its loss above the float model's is taken to fall exponentially from `lower` to `bits`, and beyond.
    """
    above = {rate: losses[rate] - losses[math.inf] for rate in (lower, bits)}
    slope = math.log(above[lower] / above[bits]) / (bits - lower)
    return math.log((target - losses[math.inf]) / above[bits]) / slope / bits


def saving_straight(losses: dict[float, float], target: float, *, lower: float, bits: float) -> float:
    """`saving` along the chord, below which a falling loss that flattens lies: too little where it saves."""
    return (target - losses[bits]) / (losses[lower] - losses[bits]) * (bits - lower) / bits


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
