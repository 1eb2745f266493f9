"""Which optimizer's artifacts are better at the same bytes? One recipe, several optimizers, golf's own packer.

    python -m experiments.compressibility.run [--out FILE] [--report]

Every optimizer has a learning-rate sweep of its own on one seed. Its best rates, one for few bits and one for many, are
those whose models, packed by rounding to 1 and to 2 bits a weight, have the lowest loss on TRAINING windows (a run sees
an eighth of them). Both are trained with more seeds and packed with tuning at all rates; at each rate of bits the table
shows the one that is better on training windows. Models are judged on validation text. Every finished run is one line
of --out and is never repeated; several of these commands may share the work. --report prints the tables and draws the
picture from what is there.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from experiments.compressibility.plot import plot
from experiments.compressibility.table import tables
from experiments.compressibility.variants import CHOSEN_AT, FINAL_BITS, MAIN, SEEDS, SWEEP_BITS, SWEEP_SEED, VARIANTS
from experiments.joblist import main, name_of
from experiments.opened import opened, validation
from experiments.records import Record, read
from golf.errors import CapError
from golf.packing.measure import score_as_written
from golf.packing.pack import Packing
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.training.train import train

RECIPE = Path(__file__).with_name("recipe.toml")
RESULTS = Path(__file__).with_name("results.jsonl")
_CLAIM = 16


@dataclass(frozen=True)
class Job:
    """One training and its packs."""

    variant: str
    rate: float
    seed: int
    final: bool

    @property
    def key(self) -> str:
        """What its line is found by."""
        kind = "final" if self.final else "sweep"
        return name_of(self.variant, f"lr{self.rate}", f"seed{self.seed}", kind)


def run(job: Job) -> dict[str, Any]:
    """Train and pack; the row that is kept."""
    return measure(job, FINAL_BITS if job.final else SWEEP_BITS)


def measure(job: Job, rates: Sequence[float]) -> dict[str, Any]:
    """Train, and pack to `rates` of bits a weight."""
    settings = VARIANTS[job.variant][0] | {"optimizer.lr": str(job.rate), "seed": str(job.seed)}
    recipe = load_recipe(RECIPE, [f"{key}={value}" for key, value in settings.items()])
    started, cache, device = time.monotonic(), find_workspace(Path.cwd()).data, torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        trained = train(recipe, Run(Path(folder)), cache=cache, device=device, stop=StopFlag())
        assert trained is not None
        seconds = time.monotonic() - started
        points = list(_points(Path(folder), job, rates))
    row = {
        "variant": job.variant,
        "lr": job.rate,
        "seed": job.seed,
        "final": job.final,
        "date": date.today().isoformat(),
        "parameters": trained.parameters,
        "tokens": trained.tokens,
        "float_loss": trained.val_loss,
        "float_bpb": trained.val_bpb,
        "train_seconds": round(seconds, 1),
        "pack_seconds": round(time.monotonic() - started - seconds, 1),
        "points": points,
    }
    print(f"{job.key}: float {trained.val_loss:.4f}  " + "  ".join(f"{p['bits']}:{p['loss']:.4f}" for p in points))
    return row


def _points(folder: Path, job: Job, rates: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Packs at a series of rates: bytes, losses on validation and on training text, ranks."""
    packing = opened(folder, [] if job.final else ["pack.tune_tokens=0", "pack.low_rank=off"])
    float_score = validation(packing, packing.inputs.model)
    encoder = packing.encoder(packing.calibrated(), float_score)
    float_training = training_loss(packing)
    for bits in rates:
        size = round(bits * encoder.weights / 8)
        with suppress(CapError):
            kept = packing.best(encoder, size - _CLAIM).kept
            encoded = kept.solution.built
            found = score_as_written(packing.inputs, encoded, folder / "artifact.bin", packing.observer)
            yield {
                "bits": bits,
                "bytes": kept.solution.size,
                "binding": kept.solution.binding,
                "loss": found.loss,
                "bpb": found.bpb,
                "training_loss": float_training + kept.gap,
                "gap": found.loss - float_score.loss,
                "tuned": kept.method.fine_tune,
                "ranks": encoded.ranks,
            }


@torch.inference_mode()
def training_loss(packing: Packing) -> float:
    """The float model's loss on the training windows by which packs are compared."""
    return statistics.fmean(float(packing.inputs.model.loss(window)) for window in packing.windows.held_out())


def jobs(rows: list[Record]) -> Iterator[Job]:
    """What is to be done: sweeps first, then seeds of each variant's best rate as soon as it is known."""
    names = list(VARIANTS)
    for some in (names[:MAIN], names[MAIN:]):
        for variant in some:
            for rate in VARIANTS[variant][1]:
                yield Job(variant, rate, SWEEP_SEED, final=False)
        for seed in SEEDS:
            for variant in some:
                for rate in best_rates(rows, variant):
                    yield Job(variant, rate, seed, final=True)


def best_rates(rows: list[Record], variant: str) -> list[float]:
    """The sweep's winners on training text at CHOSEN_AT bits; empty while the sweep is not complete."""
    by_key = {row["key"]: row for row in rows}
    found: dict[float, dict[float, float]] = {bits: {} for bits in CHOSEN_AT}
    for rate in VARIANTS[variant][1]:
        row = by_key.get(Job(variant, rate, SWEEP_SEED, final=False).key)
        if row is None:
            return []
        for point in row["points"]:
            if point["bits"] in found:
                found[point["bits"]][rate] = point["training_loss"]
    return sorted({min(losses, key=losses.__getitem__) for losses in found.values() if losses})


def report(out: Path) -> None:
    """Print the tables and draw the picture."""
    rows = read(out)
    print("\n".join(tables(rows)))
    plot(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    main(__doc__, RESULTS, jobs, run, report)
