"""Does spectral decay make Muon's artifacts better at the same bytes? On seeds that had no part in asking.

    python -m benchmarks.spectral_decay --out benchmarks/results/spectral-decay [--report]

benchmarks.compressibility compares many optimizers on seeds 1 to 3, where spectral decay on Muon was ahead of all at
1 to 1.6 bits a weight. What is compared here was settled by those seeds: at each rate of bits the best of Muon with and
without decay, each at its best learning rate. Both of a pair have the same first weights and the same order of text in
each seed, so differences within a seed are what is tested (paired t; p values are of one comparison each, and of seeds
alone: all are scored on the same text). Bytes at equal loss are interpolated between the packs of one model, whose loss
above the float one falls exponentially with bits. Finished runs are kept as JSON under --out and never repeated;
several of these commands may share the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.compressibility import Job, mean_and_error, measure, welch
from benchmarks.work import main, results

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


def jobs(_: Path) -> Iterator[Job]:
    """Seed by seed, so that whatever is finished can be compared."""
    for seed in SEEDS:
        for pair in PAIRS:
            for variant, rate in (pair.ours, pair.rival):
                yield Job(variant, rate, seed, final=True)


def run(job: Job) -> dict[str, Any]:
    """Train and pack; the row that is kept."""
    rates = next(pair.rates for pair in PAIRS if (job.variant, job.rate) in (pair.ours, pair.rival))
    return measure(job, rates)


def report(out: Path) -> None:
    """Differences by seed: mean ± standard error, p; bytes saved at equal loss."""
    found = {(row["variant"], row["lr"], row["seed"]): row for row in results(out)}
    for pair in PAIRS:
        both = [
            (ours, rival)
            for seed in SEEDS
            if (ours := _losses(found, pair.ours, seed, pair)) and (rival := _losses(found, pair.rival, seed, pair))
        ]
        print(f"{pair.ours[0]} (lr {pair.ours[1]}) against {pair.rival[0]} (lr {pair.rival[1]}), {len(both)} seeds")
        for lower, bits in pairwise(pair.rates) if len(both) > 1 else ():
            differences = [ours[bits] - rival[bits] for ours, rival in both]
            saved = [saving(ours, rival[bits], lower=lower, bits=bits) for ours, rival in both]
            straight = [saving_straight(ours, rival[bits], lower=lower, bits=bits) for ours, rival in both]
            before = mean_and_error([rival[bits] for _, rival in both])
            print(f"  {bits} bits a weight: {before} to {mean_and_error([ours[bits] for ours, _ in both])}")
            _show("nats", differences)
            _show("bytes saved at equal loss, %", [100 * each for each in saved])
            _show("the same by straight lines, %", [100 * each for each in straight])


def _show(what: str, values: list[float]) -> None:
    by_seed = ", ".join(f"{each:+.4f}" for each in values)
    print(f"    {what}: {mean_and_error(values)} (p {welch(values, [0.0]):.4f}); by seed {by_seed}")


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
    main(__doc__, jobs, run, report)
