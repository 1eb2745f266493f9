"""What each option of `[model]` is worth on a small run, alone and with others: loss and time a step.

    python -m experiments.options.run [--out FILE] [--report]

The recipe of experiments.compressibility with Muon. Differences are to the plain model of the same seed; parameters
that an option adds are shown, and are few. Every finished run is one line of --out and is never repeated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from experiments.compressibility.run import RECIPE
from experiments.joblist import main, name_of
from experiments.options.table import tables
from experiments.records import Record, read
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.training.train import train

RESULTS = Path(__file__).with_name("results.jsonl")
SEEDS = (1, 2, 3)
_BASE = ("optimizer.name=muon", "optimizer.weight_decay=0.0", "optimizer.lr=0.02")
OPTIONS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "smear, exclusive_layers 2, leaky_relu2": (
        "model.smear=true",
        "model.exclusive_layers=2",
        "model.mlp_activation=leaky_relu2",
    ),
    "skips, residual_mix, output_scales": (
        "model.skips=true",
        "model.residual_mix=true",
        "model.output_scales=true",
    ),
    "smear": ("model.smear=true",),
    "leaky_relu2": ("model.mlp_activation=leaky_relu2",),
    "rotary_fraction .25": ("model.rotary_fraction=0.25",),
    "rotary_fraction .5": ("model.rotary_fraction=0.5",),
    "exclusive_layers 4": ("model.exclusive_layers=4",),
    "exclusive_layers 2": ("model.exclusive_layers=2",),
    "parallel_from 2": ("model.parallel_from=2",),
    "recur_layers 1-2": ("model.recur_layers=[1, 2]",),
    "skips": ("model.skips=true",),
    "residual_mix": ("model.residual_mix=true",),
    "output_scales": ("model.output_scales=true",),
    "mlp_ratio 3": ("model.mlp_ratio=3.0",),
    "ema .98": ("train.ema=0.98",),
    "weight_decay .1 to 0": ("optimizer.weight_decay=0.1", "optimizer.weight_decay_end=0.0"),
    "weight_decay 0 to .1": ("optimizer.weight_decay_end=0.1",),
}


@dataclass(frozen=True)
class Job:
    """One training."""

    option: str
    seed: int

    @property
    def key(self) -> str:
        """What its line is found by."""
        return name_of(self.option, f"seed{self.seed}")


def jobs() -> Iterator[Job]:
    """One seed of everything first."""
    return (Job(option, seed) for seed in SEEDS for option in OPTIONS)


def run(job: Job) -> Record:
    """Train; the row that is kept."""
    recipe = load_recipe(RECIPE, [*_BASE, *OPTIONS[job.option], f"seed={job.seed}"])
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            recipe,
            Run(Path(folder)),
            cache=find_workspace(Path.cwd()).data,
            device=torch.device("cpu"),
            stop=StopFlag(),
        )
    assert trained is not None
    print(f"{job.key}: {trained.val_loss:.4f}", flush=True)
    return {
        "option": job.option,
        "seed": job.seed,
        "date": date.today().isoformat(),
        "parameters": trained.parameters,
        "loss": trained.val_loss,
        "seconds_a_step": trained.seconds / trained.steps,
    }


def report(out: Path) -> None:
    """Print the table."""
    print("\n".join(tables(read(out))))


if __name__ == "__main__":
    main(__doc__, RESULTS, lambda _: jobs(), run, report)
