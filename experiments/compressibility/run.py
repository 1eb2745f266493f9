"""Which optimizer's artifacts are better at the same bytes? One recipe, several optimizers, golf's own packer.

    python -m benchmarks.compressibility --out benchmarks/results/compressibility [--report]

Every optimizer has a learning-rate sweep of its own on one seed. Its best rates, one for few bits and one for many, are
those whose models, packed by rounding to 1 and to 2 bits a weight, have the lowest loss on TRAINING windows (a run sees
an eighth of them). Both are trained with more seeds and packed with tuning at all rates; at each rate of bits the table
shows the one that is better on training windows. Models are judged on validation text. Every finished run is one JSON
file under --out and is never repeated; several of these commands may share the work (delete the .claimed files of
killed ones). --report prints the table and draws the picture from what is there.
"""

from __future__ import annotations

import json
import math
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

from benchmarks.work import main, name_of, results
from golf.contest.rules.statistics import welch_one_sided
from golf.errors import CapError
from golf.packing.inputs import LOOKS, Source, load_source
from golf.packing.pack import make_draft, measured
from golf.packing.search import fit
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.training.train import train

RECIPE = Path("benchmarks/compressibility.toml")
SWEEP_BITS = (1.0, 1.5, 2.0)
FINAL_BITS = (0.5, 0.8, 1.0, 1.3, 1.6, 2.0, 3.0, 4.0, 8.0)
CHOSEN_AT = (1.0, 2.0)
SEEDS = (1, 2, 3)
SWEEP_SEED = 1
_CLAIM = 16
# The first so many variants are compared on all seeds before the others begin.
MAIN = 7
_MUON_RATES = (0.01, 0.02, 0.04, 0.08)
# ‖update‖ is √r of Muon's at the same rate, so NuMuon's sweep lies higher.
_NUMUON_RATES = (0.02, 0.04, 0.08, 0.16)


def _numuon(kind: str, end: float) -> dict[str, str]:
    return {"optimizer.name": "numuon", "optimizer.rank.kind": kind, "optimizer.rank.end": str(end)}


_SPECTRAL = {"optimizer.weight_decay": "0.0", "optimizer.spectral_decay": "0.1"}

VARIANTS: dict[str, tuple[dict[str, str], tuple[float, ...]]] = {
    "Muon": ({"optimizer.name": "muon"}, _MUON_RATES),
    # tells what spectral decay does from what leaving weight decay out does
    "Muon, no decay": ({"optimizer.name": "muon", "optimizer.weight_decay": "0.0"}, _MUON_RATES),
    "Muon, spectral decay": ({"optimizer.name": "muon"} | _SPECTRAL, _MUON_RATES),
    "NuMuon piecewise .25": (_numuon("piecewise", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .25, spectral decay": (_numuon("piecewise", 0.25) | _SPECTRAL, _MUON_RATES),
    "AdamW": ({"optimizer.name": "adamw"}, (0.001, 0.002, 0.004, 0.008)),
    "NuMuon cosine .25": (_numuon("cosine", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .5": (_numuon("piecewise", 0.5), _NUMUON_RATES),
    "NuMuon piecewise .1": (_numuon("piecewise", 0.1), _NUMUON_RATES),
    "NuMuon fixed .25": (_numuon("fixed", 0.25), _NUMUON_RATES),
    "NuMuon piecewise .05": (_numuon("piecewise", 0.05), _NUMUON_RATES),
}
# What NuMuon and spectral decay are held against.
RIVALS = ("Muon", "Muon, no decay", "AdamW")


@dataclass(frozen=True)
class Job:
    """One training and its packs."""

    variant: str
    rate: float
    seed: int
    final: bool

    @property
    def key(self) -> str:
        """Name of the result file."""
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
        points = list(_points(Path(folder), job, rates, cache, device))
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


def _points(
    folder: Path, job: Job, rates: Sequence[float], cache: Path, device: torch.device
) -> Iterator[dict[str, Any]]:
    """Packs at a series of rates: bytes, losses on validation and on training text, ranks."""
    source = load_source(
        Run(folder),
        cache=cache,
        device=device,
        stop=StopFlag(),
        observer=Observer(),
        budget={},
        settings=[] if job.final else ["pack.tune_tokens=0", "pack.low_rank=off"],
    )
    draft = make_draft(source, source.prepared(), score := source.score(source.model))
    float_training = training_loss(source)
    for bits in rates:
        size = round(bits * draft.weights / 8)
        with suppress(CapError):
            fitted = fit(draft, source, room=size - _CLAIM)
            packed = fitted.solution.packed
            found = measured(packed, source, folder / "artifact.bin")
            yield {
                "bits": bits,
                "bytes": fitted.solution.size,
                "binding": fitted.solution.binding,
                "loss": found.loss,
                "bpb": found.bpb,
                "training_loss": float_training + fitted.gap,
                "gap": found.loss - score.loss,
                "tuned": fitted.tuned,
                "ranks": [matrix.factors.rank for matrix in packed.coded],
            }


@torch.inference_mode()
def training_loss(source: Source) -> float:
    """The float model's loss on the training windows by which packs are compared."""
    windows = source.windows(16_384, batch_tokens=2048, purpose=LOOKS)
    return statistics.fmean(float(source.model.loss(window)) for window in windows)


def jobs(out: Path) -> Iterator[Job]:
    """What is to be done: sweeps first, then seeds of each variant's best rate as soon as it is known."""
    names = list(VARIANTS)
    for some in (names[:MAIN], names[MAIN:]):
        for variant in some:
            for rate in VARIANTS[variant][1]:
                yield Job(variant, rate, SWEEP_SEED, final=False)
        for seed in SEEDS:
            for variant in some:
                for rate in best_rates(out, variant):
                    yield Job(variant, rate, seed, final=True)


def best_rates(out: Path, variant: str) -> list[float]:
    """The sweep's winners on training text at CHOSEN_AT bits; empty while the sweep is not complete."""
    found: dict[float, dict[float, float]] = {bits: {} for bits in CHOSEN_AT}
    for rate in VARIANTS[variant][1]:
        path = out / f"{Job(variant, rate, SWEEP_SEED, final=False).key}.json"
        if not path.exists():
            return []
        for point in json.loads(path.read_text())["points"]:
            if point["bits"] in found:
                found[point["bits"]][rate] = point["training_loss"]
    return sorted({min(losses, key=losses.__getitem__) for losses in found.values() if losses})


def report(out: Path) -> None:
    """Sweeps, then losses at each rate of bits: mean ± standard error over seeds, and Welch's test."""
    rows = results(out)
    print("sweep (seed 1; loss on validation text: float, then by rounding at 1, 1.5, 2 bits)")
    for variant in VARIANTS:
        for row in sorted((r for r in rows if r["variant"] == variant and not r["final"]), key=lambda r: r["lr"]):
            points = "  ".join(f"{point['loss']:.4f}" for point in row["points"])
            print(f"  {variant:38} lr {row['lr']:<6} {row['float_loss']:.4f}  {points}")
    finals = {v: [r for r in rows if r["final"] and r["variant"] == v] for v in VARIANTS}
    finals = {variant: found for variant, found in finals.items() if found}
    print("\nnats per token, mean ± standard error over seeds; learning rate; Welch's p against the best rival (*)")
    for bits in (*FINAL_BITS, math.inf):
        chosen = {variant: _best(found, bits) for variant, found in finals.items()}
        # the best on training text of those with most seeds
        known = [variant for variant in RIVALS if chosen.get(variant)]
        rival = min(known, key=lambda v: (-len(chosen[v]), _mean(chosen[v], "training_loss")), default=None)
        print(f"\n{'float' if bits == math.inf else f'{bits} bits a weight'}")
        for variant, points in chosen.items():
            if points:
                print(
                    f"  {variant:38}{_cell(points, chosen[rival] if rival else [])}{' *' if variant == rival else ''}"
                )
    _ranks(finals)
    _plot(finals, out.with_suffix(".png"))


def _best(rows: list[dict[str, Any]], bits: float) -> list[dict[str, Any]]:
    """One point a seed, at the learning rate that is best on training windows; float weights count as a rate too."""
    by_rate: dict[float, list[dict[str, Any]]] = {}
    for row in rows:
        for point in row["points"]:
            # the finest pack is what float weights are on training text, within a thousandth
            if point["bits"] == min(bits, FINAL_BITS[-1]):
                measured = {"loss": row["float_loss"], "bpb": row["float_bpb"]} if bits == math.inf else {}
                by_rate.setdefault(row["lr"], []).append(point | measured | {"lr": row["lr"]})
    return min(by_rate.values(), key=lambda points: (-len(points), _mean(points, "training_loss")), default=[])


def _mean(points: list[dict[str, Any]], key: str) -> float:
    return statistics.fmean(point[key] for point in points)


def _cell(own: list[dict[str, Any]], rivals: list[dict[str, Any]]) -> str:
    losses, others = [p["loss"] for p in own], [p["loss"] for p in rivals]
    text = f"{mean_and_error(losses)}  lr {own[0]['lr']:<6}"
    if min(len(losses), len(others)) > 1 and own is not rivals:
        text += f" {statistics.fmean(losses) - statistics.fmean(others):+.4f} (p {welch(losses, others):.4f})"
    return text


def _ranks(finals: dict[str, list[dict[str, Any]]]) -> None:
    """What low-rank factors the packer chose."""
    print("\nmatrices with low-rank factors, and their mean rank")
    for variant, rows in finals.items():
        cells = []
        for bits in FINAL_BITS:
            ranks = [rank for row in rows for p in row["points"] if p["bits"] == bits for rank in p["ranks"]]
            kept = [rank for rank in ranks if rank]
            if ranks:
                cells.append(f"{bits}: {len(kept) / len(ranks):.0%} {statistics.fmean(kept) if kept else 0:.0f}")
        print(f"  {variant:38}" + "  ".join(cells))


def mean_and_error(values: list[float]) -> str:
    """Mean ± standard error, which one value has not."""
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.4f}"


def welch(first: list[float], second: list[float]) -> float:
    """Two-sided p value of Welch's t test."""
    p = welch_one_sided(first, second)
    return 2 * min(p, 1 - p)


def _plot(finals: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panel = plt.subplots(figsize=(8, 5))
    for index, (variant, rows) in enumerate(finals.items()):
        chosen = [points for bits in FINAL_BITS if (points := _best(rows, bits))]
        colour = f"C{index}"
        panel.plot(
            [_mean(points, "bytes") for points in chosen],
            [_mean(points, "bpb") for points in chosen],
            "o-",
            color=colour,
            markersize=3,
            label=variant,
        )
        panel.axhline(_mean(_best(rows, math.inf), "bpb"), color=colour, linewidth=0.6, linestyle=":")
    panel.set(xlabel="bytes of the artifact", ylabel="bits per byte (dotted: float)", xscale="log")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(__doc__, jobs, run, report)
