"""golf's training beside a bare torch loop of the same model, in one run, and what its looks at itself cost.

    python -m bench.train_throughput [--out FILE] [--recipe quickstart] [--steps 60] [--turns 3] [--threads 2]

The bare loop does what a training must: batch, loss, backward, clipping, torch.optim.Muon for matrices, AdamW for the
rest. golf's time is the whole training's, batches, metrics and checks included, up to its last step. Both take turns,
after one that warms up. It has no bar: a turn on a busy machine differs by more than what is looked for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from experiments.records import add_out_option, append, circumstances
from golf.data import Batches, TokenSet, prepare
from golf.model import Transformer, initialize
from golf.optim import Optimizers
from golf.recipe import Recipe, change_recipe, find_recipe, load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.training.diagnostics import matrices_of, matrix_figures, predict_size
from golf.training.state import TrainingState
from golf.training.train import train

CPU = torch.device("cpu")


def bare(recipe: Recipe, data: TokenSet, steps: int) -> float:
    """Seconds a step of a loop without golf around it."""
    section, optimizer = recipe.train, recipe.optimizer
    model = Transformer(recipe.model, data.tokenizer.vocab_size)
    initialize(model, seed=recipe.seed)
    batches = Batches(
        data.train, batch_tokens=section.batch_tokens, sequence_length=section.sequence_length, seed=recipe.seed
    )
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and not n.startswith("embedding")]
    others = [p for n, p in named.items() if p.ndim != 2 or n.startswith("embedding")]
    muon = torch.optim.Muon(matrices, lr=optimizer.lr, nesterov=optimizer.nesterov)
    adamw = torch.optim.AdamW(others, lr=optimizer.embedding_lr, betas=optimizer.betas)
    started = time.perf_counter()
    for step in range(steps):
        model.zero_grad(set_to_none=True)
        loss = model.loss(torch.from_numpy(batches.batch(step)))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), section.clip)
        muon.step()  # type: ignore[no-untyped-call]
        adamw.step()
    return (time.perf_counter() - started) / steps


def golfs(recipe: Recipe, cache: Path) -> float:
    """Seconds a step of `golf train`."""
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, run := Run(Path(folder)), cache=cache, device=CPU, stop=StopFlag())
        last = json.loads(run.metrics.read_text().splitlines()[-1])
    return float(last["elapsed"]) / recipe.train.steps


def looks(recipe: Recipe, data: TokenSet) -> dict[str, float]:
    """Seconds of one look's diagnostics of the matrices, and of its prediction of the packed size."""
    model = Transformer(recipe.model, data.tokenizer.vocab_size)
    initialize(model, seed=recipe.seed)
    session = TrainingState(recipe, Run(Path("none")), data, model, Optimizers(recipe.optimizer, model), CPU)
    seconds = {}
    for name, call in (
        ("diagnostics", lambda: matrix_figures(model, matrices_of(model), share=0.25)),
        ("prediction", lambda: predict_size(session)),
    ):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        seconds[name] = statistics.median(times)
    return seconds


def compare(recipe: Recipe, *, steps: int, turns: int) -> dict[str, Any]:
    """Times a step of golf with NuMuon, golf with Muon and the bare loop, and the looks' share of the training."""
    cache = find_workspace(Path.cwd()).data
    data = prepare(recipe.data, recipe.tokenizer, cache=cache)
    short = [f"train.steps={steps}", f"train.eval_every={steps}", "train.eval_tokens=1024", "verify.tokens=1024"]
    contenders = {
        name: change_recipe(
            recipe, [*short, f"optimizer.name={name}"], sections=("train", "verify", "optimizer"), source="benchmark"
        )
        for name in ("numuon", "muon")
    }
    times: dict[str, list[float]] = {"bare": [], "numuon": [], "muon": []}
    bare(recipe, data, steps)
    for _ in range(turns):
        times["bare"].append(bare(recipe, data, steps))
        for name, changed in contenders.items():
            times[name].append(golfs(changed, cache))
    middle = {name: statistics.median(each) for name, each in times.items()}
    seen = looks(recipe, data)
    training = middle["numuon"] * recipe.train.steps
    count = recipe.train.steps / recipe.train.eval_every
    return {
        "step_ms": {name: round(1e3 * value, 2) for name, value in middle.items()},
        "over_bare": {
            name: [round(a / b, 3) for a, b in zip(times[name], times["bare"], strict=True)]
            for name in ("numuon", "muon")
        },
        "look_seconds": seen,
        "look_share": {name: round(value * count / training, 4) for name, value in seen.items()},
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, None)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = compare(load_recipe(find_recipe(arguments.recipe)), steps=arguments.steps, turns=arguments.turns)
    for name, value in found.items():
        print(f"{name}: {value}")
    if arguments.out:
        about = {"threads": arguments.threads, "recipe": arguments.recipe}
        append(arguments.out, {"script": "train_throughput"} | circumstances() | about | found)


if __name__ == "__main__":
    main()
