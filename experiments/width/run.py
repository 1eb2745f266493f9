"""Width and optimizer under one cap, for the same number of training tokens.

    python -m benchmarks.width --out benchmarks/results/width [--report]

More parameters leave fewer bits for each. Every optimizer trains the recipe of benchmarks.compressibility at several
widths and is packed with tuning under one cap. Learning rates are those that did best there; where bits are few, twice
that on one seed too, and the rate that is better on training windows counts.
Finished runs are kept as JSON under --out and never repeated; several of these commands may share the work.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.compressibility import RECIPE, VARIANTS, training_loss, welch
from benchmarks.work import main, name_of, results
from golf.packing.inputs import load_source
from golf.packing.pack import make_draft, measured
from golf.packing.search import fit
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.training.train import train

CAP = 200_000
WIDTHS = (96, 128, 192, 256)
SEEDS = (1, 2, 3)
OPTIMIZERS = ("Muon, no decay", "Muon, spectral decay", "NuMuon piecewise .25, spectral decay")
# The sweep's best for many bits, and for few.
RATES = (0.02, 0.04)
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
        """Name of the result file."""
        return name_of(self.variant, f"width{self.width}", f"lr{self.rate}", f"seed{self.seed}")


def jobs(out: Path) -> Iterator[Job]:
    """One seed of everything first, then more seeds at each width's better rate, once that is known."""
    for width in WIDTHS:
        for rate in _rates(width):
            yield from (Job(variant, width, rate, SEEDS[0]) for variant in OPTIMIZERS)
    rows = results(out)
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


def run(job: Job) -> dict[str, Any]:
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
        source = load_source(
            Run(Path(folder)), cache=cache, device=device, stop=StopFlag(), observer=Observer(), budget={}, settings=[]
        )
        draft = make_draft(source, source.prepared(), source.score(source.model))
        fitted = fit(draft, source, room=CAP - 16)
        found = measured(fitted.solution.packed, source, Path(folder) / "artifact.bin")
        float_training = training_loss(source)
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
        "bytes": fitted.solution.size,
        "bits": 8 * fitted.solution.size / draft.weights,
        "training_loss": float_training + fitted.gap,
        "loss": found.loss,
        "bpb": found.bpb,
        "ranks": [matrix.factors.rank for matrix in fitted.solution.packed.coded],
        "seconds": round(time.monotonic() - started, 1),
    }


def report(out: Path) -> None:
    """Packed loss by width and optimizer at the better of the rates: mean ± standard error over seeds."""
    rows = results(out)
    best: dict[tuple[str, int], list[dict[str, Any]]] = {}
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
    print(f"packed loss in nats per token under {CAP:,} bytes, tuned (float loss; bits a weight; lr)")
    for width in WIDTHS:
        for variant in OPTIMIZERS:
            if found := best[variant, width]:
                mean = {key: statistics.fmean(r[key] for r in found) for key in ("loss", "float_loss", "bits")}
                where = f"{mean['float_loss']:.4f}; {mean['bits']:.2f}; {found[0]['lr']}; {len(found)} seeds"
                size = f"width {width:4} {found[0]['parameters']:>10,}"
                print(f"  {size}  {variant:38} {mean['loss']:.4f} ± {_error(found)}  ({where})")
    _compare(best)
    _plot(best, out.with_suffix(".png"))


def _error(found: list[dict[str, Any]]) -> str:
    losses = [row["loss"] for row in found]
    return f"{statistics.stdev(losses) / math.sqrt(len(losses)):.4f}" if len(losses) > 1 else "-"


def _compare(best: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """Each optimizer's best width against that of the first."""
    tops = {
        variant: min(
            (best[variant, width] for width in WIDTHS if best[variant, width]),
            key=lambda found: statistics.fmean(r["loss"] for r in found),
            default=[],
        )
        for variant in OPTIMIZERS
    }
    rival = [row["loss"] for row in tops[OPTIMIZERS[0]]]
    for variant, found in tops.items():
        if found:
            losses = [row["loss"] for row in found]
            p = f", p {welch(losses, rival):.4f}" if min(len(losses), len(rival)) > 1 and losses != rival else ""
            print(f"best width of {variant}: {found[0]['width']}, {statistics.fmean(losses):.4f}{p}")


def _plot(best: dict[tuple[str, int], list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(7, 4.5))
    for index, variant in enumerate(OPTIMIZERS):
        rows = [found for width in WIDTHS if (found := best[variant, width])]
        sizes = [found[0]["parameters"] for found in rows]
        for key, style in (("loss", "o-"), ("float_loss", ":")):
            means = [statistics.fmean(r[key] for r in found) for found in rows]
            panel.plot(sizes, means, style, color=f"C{index}", markersize=3, label=variant if key == "loss" else None)
    panel.set(xlabel="parameters", ylabel=f"nats per token in {CAP:,} bytes (dotted: float)", xscale="log")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(__doc__, jobs, run, report)
