"""The program inside an exported train_gpt.py: measure the artifact next to it, or train, pack and measure a new one.

It does not use click, rich or golf's commands, since every golf module that it imports counts as bytes of code.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn, TextIO

from golf.errors import EnvironmentFailure, GolfError, NothingHeld, UsageError
from golf.evaluation.verify import Bound, Bounds, TextChoice, verify
from golf.packing.pack import pack
from golf.packing.timing import reserve
from golf.recipe import Recipe, parse_recipe
from golf.run.folder import Run, lock
from golf.run.log_lines import CLOCK_STAGES, clock_line, final_line, size_lines, step_line
from golf.runtime import durable
from golf.runtime.device import own_device, resolve_device
from golf.runtime.interrupt import StopFlag, leave, listening
from golf.runtime.observer import Observer
from golf.runtime.processes import joined
from golf.runtime.regular import user_path
from golf.runtime.streams import prepare
from golf.runtime.visible import visible
from golf.training.train import claim_folder, train

ARTIFACT = "artifact.bin"


def main(recipe_text: str, file: str) -> NoReturn:
    """Run the command line of the script at `file`, which was written for the recipe in `recipe_text`, and exit."""
    out = prepare()
    arguments = _arguments(file)
    script = Path(file).resolve()
    code = 0
    try:
        with listening() as stop:
            if arguments.train or arguments.resume or "RANK" in os.environ:  # as torchrun sets it
                settings = _settings(arguments.seed)
                recipe = parse_recipe(recipe_text.encode(), source=script.name, settings=settings)
                code = _train(recipe, script, arguments, stop)
            else:
                artifact = script.parent / ARTIFACT
                if not artifact.exists():
                    raise UsageError(
                        f"there is no {ARTIFACT} next to {script.name}; put it there, or make one: --train"
                    )
                code = _evaluate(artifact, script, arguments.data, arguments.device, stop, sys.stdout)
        out.flush()
    except GolfError as error:
        print(f"error: {visible(str(error), lines=True)}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        code = EnvironmentFailure.exit_code
    leave(code)


def _arguments(file: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=Path(file).name,
        description=f"Measure {ARTIFACT} next to this file; with --train, or under torchrun, train, pack and measure.",
    )
    parser.add_argument("--data", type=Path, default=_place("DATA_PATH"), help="the text to measure on")
    parser.add_argument("--train", action="store_true", help="train by the recipe inside")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument("--seed", type=int, help="another seed than the recipe's")
    parser.add_argument("--out", type=Path, help="folder of the training; default runs/seed-N next to this file")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    return parser.parse_args()


def _place(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def _settings(seed: int | None) -> list[str]:
    """Settings from the environment and the flags; the variables are those of the contest's script."""
    given = {"data.path": "DATA_PATH", "tokenizer.path": "TOKENIZER_PATH", "seed": "SEED"}
    settings = {key: os.environ[name] for key, name in given.items() if os.environ.get(name)}
    return [f"{key}={value}" for key, value in (settings | ({} if seed is None else {"seed": str(seed)})).items()]


def _evaluate(
    artifact: Path,
    script: Path,
    data: Path | None,
    device: str,
    stop: StopFlag,
    log: TextIO,
    *,
    tokenizer: Path | None = None,
) -> int:
    """Measure the artifact against its own claim and cap, with the script's bytes counted; returns the exit code."""
    code = script.stat().st_size
    bounds = Bounds(code_bytes=Bound(code, "script"))
    choice = TextChoice(data=data, tokenizer=tokenizer or _place("TOKENIZER_PATH"))
    note = _notes_to(log)
    verdict = verify(
        artifact, bounds=bounds, choice=choice, device=resolve_device(device), stop=stop, observer=Observer(note=note)
    )
    for line in size_lines(model=verdict.size, code=code):
        print(line, file=log)
    for check in verdict.checks:
        state = {True: "pass", False: "FAIL", None: "-"}[check.passed]
        print(f"{check.name}: expected {check.expected}, actual {check.actual}: {state}", file=log)
    for text in verdict.notes:
        note(text)
    found = verdict.measured
    if found is not None:
        bpb = math.nan if found.contest_bpb is None else found.contest_bpb
        if found.restoring_bits:
            print(f"lossless bpb:{found.bpb:.8f}, restoring the text: {found.restoring_bits} bits", file=log)
        print(final_line(loss=found.loss, bpb=bpb, seconds=verdict.seconds), file=log, flush=True)
    return 3 if not verdict.passed else 0 if verdict.loss_held else NothingHeld.exit_code


def _train(recipe: Recipe, script: Path, arguments: argparse.Namespace, stop: StopFlag) -> int:
    """Train, pack with this script's bytes under the cap, and measure; the first process writes and logs."""
    run = Run(arguments.out or script.parent / "runs" / f"seed-{recipe.seed}")
    device, cache = own_device(resolve_device(arguments.device)), run.folder.parent / "cache"
    with ExitStack() as stack:
        log: TextIO = sys.stdout
        with joined(device) as processes:
            observer = Observer()
            if processes.first:
                if run.checkpoint.exists() and not arguments.resume:
                    raise UsageError(f"{run.folder} holds a run; continue it with --resume, or name another --out")
                claim_folder(run, recipe, resume=arguments.resume, force=False)
                stack.enter_context(lock(run))
                log = stack.enter_context(_logging(run.folder / "train.log", resume=arguments.resume))
                print(f"seed:{recipe.seed} recipe:{recipe.name} world_size:{processes.count}", file=log)
                observer = _observer(recipe, log)
            result = train(
                recipe,
                run,
                cache=cache,
                device=device,
                stop=stop,
                resume=arguments.resume,
                observer=observer,
                processes=processes,
                reserve=reserve,
            )
        if result is None:
            return 0
        packed = pack(
            run,
            cap=None,
            code_bytes=script.stat().st_size,
            out=run.artifact,
            cache=cache,
            device=device,
            stop=stop,
            observer=Observer(note=observer.note),
        )
        print(clock_line({stage: getattr(packed.clock, stage) for stage in CLOCK_STAGES}), file=log)
        tokenizer = None if recipe.tokenizer.path is None else user_path(recipe.tokenizer.path)
        return _evaluate(run.artifact, script, None, arguments.device, stop, log, tokenizer=tokenizer)


def _notes_to(log: TextIO) -> Callable[[str], None]:
    return lambda text: print(f"note: {visible(text)}", file=log, flush=True)


def _observer(recipe: Recipe, log: TextIO) -> Observer:
    return Observer(
        record=lambda record: print(step_line(record, recipe.train.steps), file=log, flush=True),
        note=_notes_to(log),
    )


class _Both:
    """A text stream that writes to several streams: the terminal and a log file."""

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


@contextmanager
def _logging(path: Path, *, resume: bool) -> Iterator[TextIO]:
    with path.open("a" if resume else "w") as file:
        yield _Both(sys.stdout, file)  # type: ignore[misc]
    durable.sync(path)
