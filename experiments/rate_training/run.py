"""What a price on bits in training does to the packed model, at several caps and lengths of training.

    python -m experiments.rate_training.run --optimizer muon --steps 4000 --strengths 0,0.005,0.02 [--seeds 1,2,3]
        [--caps 97kB,140kB,200kB] [--set SECTION.KEY=VALUE] [--pack bare|shipped] [--work DIR] [--out FILE]

The quickstart's shape. One training for each strength and seed, kept in --work and resumed there after an interruption;
one pack of it for each cap. Every pack is one line of --out and is never repeated; several of these commands may share
the work. `bare` packs are fine-tuned on few tokens towards the float model, so that nothing is compared but what
training left; `shipped` packs are those of `golf pack`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.joblist import name_of, work
from experiments.opened import opened, validation
from experiments.records import Record, add_out_option, circumstances
from golf.packing.measure import score_as_written
from golf.packing.publish import CLAIM_SLACKS
from golf.recipe import load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.byte_sizes import parse_size
from golf.runtime.interrupt import StopFlag
from golf.training.train import train

RESULTS = Path(__file__).with_name("results.jsonl")
RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"
# Looks at the validation text slow a training down and have no part in it.
_BASE = ("train.eval_every=1000000", "train.checkpoint_every=500", "optimizer.weight_decay=0")
_PACKS = {
    "bare": ("pack.tune_tokens=131072", "pack.tune_text=0", "pack.low_rank=off", "pack.quantizer=uniform"),
    "shipped": (),
}


@dataclass(frozen=True)
class Training:
    """One training."""

    optimizer: str
    steps: int
    strength: str
    seed: int
    settings: tuple[str, ...]
    cap: int | None  # what an automatic strength follows; a fixed one trains once for all caps

    @property
    def name(self) -> str:
        """The name of its folder."""
        settings = [part.partition("=")[0].rpartition(".")[2] + part.partition("=")[2] for part in self.settings]
        strength = f"l1-{self.strength}" + (f"-{self.cap}" if self.cap else "")
        return name_of(self.optimizer, self.steps, strength, *settings, f"seed{self.seed}")

    def all_settings(self) -> list[str]:
        """What is laid over the quickstart."""
        own = [f"optimizer.name={self.optimizer}", f"train.steps={self.steps}", f"seed={self.seed}"]
        if self.cap:
            own += [f"budget.cap={self.cap}"]
        kind, strength = ("none", "auto") if self.strength == "0" else ("l1", self.strength)
        own += [f"optimizer.rate_penalty.kind={kind}", f"optimizer.rate_penalty.strength={strength}"]
        return [*_BASE, *own, *self.settings]


@dataclass(frozen=True)
class Job:
    """One pack of one training."""

    training: Training
    cap: int
    pack: str  # one of _PACKS
    work: Path

    @property
    def key(self) -> str:
        """What its line is found by."""
        return f"{self.training.name}-{self.cap}" + ("" if self.pack == "bare" else f"-{self.pack}")


def trained(training: Training, folder: Path) -> Run:
    """The run of a training, trained now or before."""
    run = Run(folder / training.name)
    if not run.result.exists():
        recipe = load_recipe(RECIPE, training.all_settings())
        cache = find_workspace(Path.cwd()).data
        resume = run.checkpoint.exists()
        result = train(recipe, run, cache=cache, device=torch.device("cpu"), stop=StopFlag(), resume=resume)
        assert result is not None
        run.result.write_text(json.dumps({"tokens": result.tokens, "parameters": result.parameters}))
    return run


def measure(job: Job) -> Record:
    """Train where that is not done, and pack; the line that is kept."""
    run = trained(job.training, job.work)
    packing = opened(run.folder, [*_PACKS[job.pack], f"budget.cap={job.cap}"])
    float_score = validation(packing, packing.inputs.model)
    encoder = packing.encoder(packing.calibrated(), float_score)
    choice = packing.best(encoder, job.cap - CLAIM_SLACKS[0])
    kept = choice.kept
    found = score_as_written(packing.inputs, kept.solution.built, run.folder / "measured.bin", packing.observer)
    print(f"{job.key}: float {float_score.loss:.4f}, packed {found.loss:.4f}", flush=True)
    figures = json.loads(run.result.read_text())
    return {
        "optimizer": job.training.optimizer,
        "settings": list(job.training.settings),
        "steps": job.training.steps,
        "tokens_a_parameter": round(figures["tokens"] / figures["parameters"], 1),
        "strength": job.training.strength,
        "seed": job.training.seed,
        "cap": job.cap,
        "pack": job.pack,
        "float_loss": float_score.loss,
        "loss": found.loss,
        "bpb": found.bpb,
        "rounded_gap": choice.rounded_gap,
        "gap": kept.gap,
        "bytes": kept.solution.size,
    } | circumstances()


def main() -> None:
    """Measure what has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="muon")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--strengths", default="0,0.005,0.02")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--caps", default="97kB,140kB,200kB")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    parser.add_argument("--pack", choices=sorted(_PACKS), default="bare")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    add_out_option(parser, RESULTS)
    given = parser.parse_args()

    def jobs(_: list[Record]) -> Iterator[Job]:
        for seed in given.seeds.split(","):
            for strength in given.strengths.split(","):
                for cap in map(parse_size, given.caps.split(",")):
                    follows = cap if strength == "auto" else None
                    training = Training(
                        given.optimizer, given.steps, strength, int(seed), tuple(given.settings), follows
                    )
                    yield Job(training, cap, given.pack, given.work)

    work(given.out, jobs, measure)


if __name__ == "__main__":
    main()
