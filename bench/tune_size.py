"""How near tuning after packing comes to its byte budget, on several seeds and instruction sets, and what it loses.

    python -m bench.tune_size [--out FILE] [--against EARLIER] [--seeds 5] [--aims 0.95 1.0] [--tiny-only]

Packs the smoke recipe after its own 12 steps and after 100, tunes both for `aim` times the bytes that rounding takes
at one global step, with tune_text 0 and .5, and compares the file at that step with its budget, before anything is
solved again. The gap is the loss of the pack as it is then fitted into the budget, minus the float model's, in nats
per token of validation text; its difference to that of an EARLIER run is paired by seeds. Kernels of other instruction
sets train other models from the same seed: every set is a process of its own. One that this CPU lacks, or that is its
own one again, is named and skipped. Ends with 1 where an error is over half a percent.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from experiments.opened import opened, validation, with_pack
from experiments.records import Record, add_out_option, append, circumstances, read
from golf.compress.rate_search import Solution, finest_scale
from golf.packing.finetune_to_budget import fine_tuner
from golf.packing.methods import Case, Method, Methods, text_share
from golf.packing.pack import Packing
from golf.packing.search import Candidate, solve_near
from golf.recipe import find_recipe, load_recipe
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.interrupt import StopFlag
from golf.training.train import train

# The largest error, in percent of the budget.
BAR = 0.5
# The environment of each instruction set, and what torch then calls it; None: whatever it is.
SETS: dict[str, tuple[dict[str, str], str | None]] = {
    "default": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, "DEFAULT"),
    "avx2": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "AVX2"),
    "own": ({}, None),
}
# Steps of training, and tokens of a batch and of all of tuning: 64 batches each.
MODELS = {"12 steps": (12, 256, 16_384), "100 steps": (100, 512, 32_768)}
TEXTS = (0.0, 0.5)
# A step at which caps bind, by the gap in nats per token that it is predicted to cost, as in golf.packing.timing.
_GAP = 0.05
_TUNED = Method("uniform", "off", fine_tune=True)


def capability() -> str:
    """The instruction set that torch uses in this process."""
    return torch.backends.cpu.get_cpu_capability()


def rows(name: str, seed: int, aims: list[float]) -> Iterator[Record]:
    """Every tuning of one trained model."""
    steps, batch_tokens, tokens = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        train_smoke(Path(folder), steps, seed)
        packing = opened(
            Path(folder),
            (
                "pack.quantizer=uniform",
                "pack.low_rank=off",
                f"pack.tune_batch_tokens={batch_tokens}",
                f"pack.tune_tokens={tokens}",
            ),
        )
    float_score = validation(packing, packing.inputs.model)
    encoder = packing.encoder(packing.calibrated(), float_score)
    scale = finest_scale(encoder.weights, _GAP)
    whole, encoded = encoder.build(scale)
    rounded = Candidate(_TUNED, encoder, Solution(scale, whole, encoded, 1, binding=True), gap=0.0, seconds=0.0)
    for text in TEXTS:
        for aim in aims:
            byte_budget = round(aim * whole)
            size, loss = tuned(with_pack(packing, tune_text=text), rounded, byte_budget)
            error, gap = 100 * (size / byte_budget - 1), loss - float_score.loss
            yield {"model": name, "seed": seed, "text": text, "aim": aim, "error": error, "gap": gap}


def train_smoke(folder: Path, steps: int, seed: int) -> None:
    """Train the smoke recipe for so many steps into `folder`."""
    cache = find_workspace(Path.cwd()).data
    changed = (f"train.steps={steps}", f"seed={seed}", f"train.eval_every={steps}", "verify.tokens=16384")
    recipe = load_recipe(find_recipe("smoke"), list(changed))
    train(recipe, Run(folder), cache=cache, device=torch.device("cpu"), stop=StopFlag())


def tuned(packing: Packing, rounded: Candidate, byte_budget: int) -> tuple[int, float]:
    """Bytes of the file as it was tuned, and the loss of the one that is then fitted into the budget."""
    case, scale = Case.of(packing.inputs, byte_budget), rounded.solution.scale
    plan = Methods((_TUNED,), {}, case.tokens, text_share(packing.inputs.recipe.pack, case))
    tune = fine_tuner(packing.inputs, plan, packing.windows, packing.time_budget, packing.observer)
    encoder = tune(rounded, byte_budget)
    fitted = solve_near(encoder, byte_budget, scale)
    return encoder.build(scale)[0], validation(packing, encoder.decoded(fitted.built)).loss


def work(name: str, arguments: argparse.Namespace) -> list[Record] | str:
    """The rows of one instruction set, from a process of its own; or why there are none."""
    environment, wanted = SETS[name]
    command = [sys.executable, "-m", "bench.tune_size", "--work", "--seeds", str(arguments.seeds)]
    command += ["--aims", *map(str, arguments.aims), *(["--tiny-only"] if arguments.tiny_only else [])]
    known = [each for _, each in SETS.values() if each]
    if wanted is None and capability() in known:
        return f"this machine's own is {capability().lower()}"
    # a set that a CPU lacks leaves torch with less
    command += ["--capability", wanted] if wanted else []
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    found: list[Record] | str = json.loads(done.stdout.splitlines()[-1])
    return found if isinstance(found, str) else [{"set": name, **row} for row in found]


def table(found: list[Record], earlier: list[Record]) -> None:
    """Errors and gaps by set, model, text and aim."""
    before = {(*_key(row), row["seed"]): row["gap"] for row in earlier}
    print("| set | model | text | aim | mean error % | largest % | gap | against earlier |")
    print("|---|---|---|---|---|---|---|---|")
    for key in dict.fromkeys(map(_key, found)):
        own = [row for row in found if _key(row) == key]
        errors = [row["error"] for row in own]
        changes = [row["gap"] - before[known] for row in own if (known := (*_key(row), row["seed"])) in before]
        cells = [*map(str, key), _mean(errors, 2), f"{max(map(abs, errors)):.2f}"]
        print("| " + " | ".join([*cells, _mean([row["gap"] for row in own], 4), _mean(changes, 4)]) + " |")


def _key(row: Record) -> tuple[Any, ...]:
    return row["set"], row["model"], row["text"], row["aim"]


def _mean(values: list[float], digits: int) -> str:
    """Mean ± standard error; empty without values."""
    if len(values) < 2:
        return f"{values[0]:+.{digits}f}" if values else ""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):+.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    """Run every instruction set, print one table, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, None)
    parser.add_argument("--against", type=Path, help="a file whose last such line an earlier run wrote")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--aims", type=float, nargs="+", default=[0.95, 1.0])
    parser.add_argument("--tiny-only", action="store_true", help="leave out the model of 100 steps")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--capability", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(_own_rows(arguments)))
        return
    found: list[Record] = []
    with ThreadPoolExecutor(arguments.processes) as pool:
        for name, result in zip(SETS, pool.map(lambda each: work(each, arguments), SETS), strict=True):
            if isinstance(result, str):
                print(f"{name}: skipped, {result}")
            else:
                found += result
    table(found, _earlier(arguments.against) if arguments.against else [])
    if arguments.out:
        append(arguments.out, {"script": "tune_size"} | circumstances() | {"bar": BAR, "rows": found})
    worst = max(abs(row["error"]) for row in found)
    if worst > BAR:
        raise SystemExit(f"the largest error is {worst:.2f} %, over {BAR} %")


def _earlier(path: Path) -> list[Record]:
    """The rows of the file's last run of this script."""
    runs = [record for record in read(path) if record["script"] == "tune_size"]
    if not runs:
        raise SystemExit(f"{path} has no line of tune_size")
    return list(runs[-1]["rows"])


def _own_rows(arguments: argparse.Namespace) -> list[Record] | str:
    """The rows of this process; what it lacks, where it does not run on the instruction set that was asked for."""
    torch.set_num_threads(1)
    if arguments.capability and capability() != arguments.capability:
        return f"this CPU has no {arguments.capability.lower()}"
    names = list(MODELS)[: 1 if arguments.tiny_only else None]
    seeds = range(1, arguments.seeds + 1)
    return [row for name in names for seed in seeds for row in rows(name, seed, arguments.aims)]


if __name__ == "__main__":
    main()
