"""Width and optimizer under one cap, for the same number of training tokens.

    python -m experiments.width.run [--out FILE] [--report]

More parameters leave fewer bits for each. Every optimizer trains the recipe of experiments.compressibility at several
widths and is packed with tuning under one cap. Learning rates are those that did best there; where bits are few, twice
that on one seed too, and the rate that is better on training windows counts.
Every finished run is one line of --out and is never repeated; several of these commands may share the work.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from experiments.compressibility.run import RECIPE, training_loss
from experiments.compressibility.variants import VARIANTS
from experiments.joblist import main, name_of
from experiments.opened import encoder_of, opened
from experiments.records import Record, read
from experiments.width.plot import plot
from experiments.width.table import CAP, OPTIMIZERS, RATES, WIDTHS, tables
from golf.packing.measure import score_as_written
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.training.train import train

RESULTS = Path(__file__).with_name("results.jsonl")
SEEDS = (1, 2, 3)
_FEW_BITS_FROM = 192
# Twice the recipe's, which packs nine times a run; a quarter of golf's default, for there are dozens of runs.
_TUNE_TOKENS = 131_072
_HEAD_WIDTH = 32


@dataclass(frozen=True)
class Job:
    """One training and its pack."""

    variant: str
    width: int
    rate: float
    seed: int

    @property
    def key(self) -> str:
        """What its line is found by."""
        return name_of(self.variant, f"width{self.width}", f"lr{self.rate}", f"seed{self.seed}")


def jobs(rows: list[Record]) -> Iterator[Job]:
    """One seed of everything first, then more seeds at each width's better rate, once that is known."""
    for width in WIDTHS:
        for rate in _rates(width):
            yield from (Job(variant, width, rate, SEEDS[0]) for variant in OPTIMIZERS)
    for seed in SEEDS[1:]:
        for width in WIDTHS:
            for variant in OPTIMIZERS:
                found = {
                    r["lr"]: r for r in rows if (r["variant"], r["width"], r["seed"]) == (variant, width, SEEDS[0])
                }
                if all(rate in found for rate in _rates(width)):
                    best = min(_rates(width), key=lambda rate: found[rate]["training_loss"])
                    yield Job(variant, width, best, seed)


def _rates(width: int) -> tuple[float, ...]:
    return RATES if width >= _FEW_BITS_FROM else RATES[:1]


def run(job: Job) -> Record:
    """Train, pack under the cap, measure; the row that is kept."""
    settings = VARIANTS[job.variant][0] | {
        "optimizer.lr": str(job.rate),
        "seed": str(job.seed),
        "model.width": str(job.width),
        "model.heads": str(job.width // _HEAD_WIDTH),
        "model.kv_heads": "1" if job.width // _HEAD_WIDTH % 2 else str(job.width // _HEAD_WIDTH // 2),
        "budget.cap": str(CAP),
        "pack.tune_tokens": str(_TUNE_TOKENS),
        "pack.tune_text": "0",  # what the text could still teach is training's part
    }
    recipe = load_recipe(RECIPE, [f"{key}={value}" for key, value in settings.items()])
    started, cache, device = time.monotonic(), find_workspace(Path.cwd()).data, torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        trained = train(recipe, Run(Path(folder)), cache=cache, device=device, stop=StopFlag())
        assert trained is not None
        packing = opened(Path(folder))
        kept = packing.best(encoder_of(packing), CAP - 16).kept
        encoded, out = kept.solution.built, Path(folder) / "artifact.bin"
        found = score_as_written(packing.inputs, encoded, out, packing.observer)
        float_training = training_loss(packing)
    print(f"{job.key}: {found.loss:.4f}", flush=True)
    return {
        "variant": job.variant,
        "width": job.width,
        "lr": job.rate,
        "seed": job.seed,
        "date": date.today().isoformat(),
        "parameters": trained.parameters,
        "tokens": trained.tokens,
        "float_loss": trained.val_loss,
        "bytes": kept.solution.size,
        "bits": 8 * kept.solution.size / kept.encoder.weights,
        "training_loss": float_training + kept.gap,
        "loss": found.loss,
        "bpb": found.bpb,
        "ranks": encoded.ranks,
        "seconds": round(time.monotonic() - started, 1),
    }


def report(out: Path) -> None:
    """Print the table and draw the picture."""
    rows = read(out)
    print("\n".join(tables(rows)))
    plot(rows, out.with_suffix(".png"))


if __name__ == "__main__":
    main(__doc__, RESULTS, jobs, run, report)
