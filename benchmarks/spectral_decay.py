"""Does spectral decay make Muon's artifacts better at the same bytes? On seeds that had no part in asking.

    python -m benchmarks.spectral_decay --out benchmarks/results/spectral-decay [--report]

benchmarks.compressibility compares many optimizers on seeds 1 to 3, where spectral decay on Muon was ahead of all at
1 to 1.6 bits a weight. What is compared here was settled by those seeds: at each rate of bits the best of Muon with and
without decay, each at its best learning rate. Both of a pair have the same first weights and the same order of text in
each seed, so differences within a seed are what is tested (paired t). Bytes at equal loss are interpolated between the
packs of one model. Finished runs are kept as JSON under --out and never repeated; several of these commands may share
the work.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compressibility import Job, measure, welch
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
    losses = {
        (row["variant"], row["lr"], row["seed"]): {point["bits"]: point["loss"] for point in row["points"]}
        for row in results(out)
    }
    for pair in PAIRS:
        both = [seed for seed in SEEDS if {(*pair.ours, seed), (*pair.rival, seed)} <= losses.keys()]
        print(f"{pair.ours[0]} (lr {pair.ours[1]}) against {pair.rival[0]} (lr {pair.rival[1]}), {len(both)} seeds")
        if len(both) < 2:
            continue
        for lower, bits in zip(pair.rates, pair.rates[1:], strict=False):
            ours, rival = ([losses[*side, seed] for seed in both] for side in (pair.ours, pair.rival))
            differences = [a[bits] - b[bits] for a, b in zip(ours, rival, strict=True)]
            saved = [saving(a, b[bits], lower=lower, bits=bits) for a, b in zip(ours, rival, strict=True)]
            print(f"  {bits} bits a weight: {_mean([b[bits] for b in rival])} to {_mean([a[bits] for a in ours])}")
            print("    nats by seed: " + ", ".join(f"{each:+.4f}" for each in differences))
            print(f"    nats {_mean(differences)} (p {welch(differences, [0.0]):.4f})")
            print(f"    bytes saved at equal loss, % {_mean([100 * each for each in saved])} ", end="")
            print(f"(p {welch(saved, [0.0]):.4f})")


def saving(losses: dict[float, float], target: float, *, lower: float, bits: float) -> float:
    """Share of the bytes at `bits` that a model saves by coming down to `target`, along the line to `lower` bits."""
    slope = (losses[lower] - losses[bits]) / (bits - lower)
    return (target - losses[bits]) / slope / bits


def _mean(values: list[float]) -> str:
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}"


if __name__ == "__main__":
    main(__doc__, jobs, run, report)
