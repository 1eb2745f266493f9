"""Does spectral decay make Muon's artifacts better at the same bytes? On seeds that had no part in asking.

    python -m experiments.spectral_decay.run [--out FILE] [--report]

experiments.compressibility compares many optimizers on seeds 1 to 3, where spectral decay on Muon was ahead of all at
1 to 1.6 bits a weight. What is compared here was settled by those seeds: at each rate of bits the best of Muon with and
without decay, each at its best learning rate. Both of a pair have the same first weights and the same order of text in
each seed, so differences within a seed are what is tested (paired t; p values are of one comparison each, and of seeds
alone: all are scored on the same text). Bytes at equal loss are interpolated between the packs of one model, whose loss
above the float one falls exponentially with bits. Every finished run is one line of --out and is never repeated;
several of these commands may share the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from experiments.compressibility.run import Job, measure
from experiments.joblist import main
from experiments.records import Record, read
from experiments.spectral_decay.table import PAIRS, SEEDS, tables

RESULTS = Path(__file__).with_name("results.jsonl")


def jobs(_: list[Record]) -> Iterator[Job]:
    """Seed by seed, so that whatever is finished can be compared."""
    for seed in SEEDS:
        for pair in PAIRS:
            for variant, rate in (pair.ours, pair.rival):
                yield Job(variant, rate, seed, final=True)


def run(job: Job) -> Record:
    """Train and pack; the row that is kept."""
    rates = next(pair.rates for pair in PAIRS if (job.variant, job.rate) in (pair.ours, pair.rival))
    return measure(job, rates)


def report(out: Path) -> None:
    """Print the table."""
    print("\n".join(tables(read(out))))


if __name__ == "__main__":
    main(__doc__, RESULTS, jobs, run, report)
