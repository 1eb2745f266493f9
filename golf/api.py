"""The package's front door: train, pack, verify and evaluate in one call each, for notebooks, scripts and sweeps.

Each does what the command of its name does: it takes the lock on the run's folder, hears SIGINT, SIGTERM and SIGHUP
while it works, and writes the same files. Failures are golf.errors.GolfError with one sentence; a stop raises
golf.errors.Interrupted, after which the same call with `resume=True` goes on. Paths are seen from the working folder,
whose golf.toml says where runs and caches lie.

>>> import os, tempfile, golf
>>> before = os.getcwd()
>>> os.chdir(tempfile.mkdtemp())
>>> trained = golf.train("smoke", settings=["train.steps=8"], device="cpu")
>>> packed = golf.pack("smoke", cap=60_000, settings=["pack.tune_tokens=0"], device="cpu")
>>> packed.size <= 60_000
True
>>> verdict = golf.verify("smoke", max_bpb=8, device="cpu")
>>> verdict.passed, verdict.claim_held, abs(verdict.claim.loss - packed.loss) < 1e-6
(True, True, True)
>>> golf.evaluate("smoke", tokens=257, device="cpu").tokens
256
>>> golf.open_artifact(packed.artifact).size == packed.size
True
>>> os.chdir(before)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Literal

from golf.artifact import MAGIC
from golf.contest.bundle import script
from golf.errors import EnvironmentFailure, UsageError
from golf.evaluation.evaluate import evaluate as evaluate_flow
from golf.evaluation.find_text import TextChoice
from golf.evaluation.results import Evaluation, Verdict
from golf.evaluation.verify import Bound, Bounds
from golf.evaluation.verify import verify as verify_flow
from golf.packing.pack import pack as pack_flow
from golf.packing.results import PackResult
from golf.packing.timing import reserve
from golf.recipe import Recipe, find_recipe, load_recipe
from golf.run.find import find_artifact, find_model, find_run
from golf.run.folder import Run, from_here, keeping_pack, lock
from golf.run.workspace import find_workspace
from golf.runtime import durable
from golf.runtime.device import own_device, resolve_device
from golf.runtime.interrupt import listening
from golf.runtime.json_values import as_text, to_json
from golf.runtime.observer import Observer
from golf.runtime.processes import joined
from golf.training.results import TrainResult
from golf.training.train import claim_folder
from golf.training.train import train as train_flow

# What watches long work, entered by the first process once the work begins.
Observing = AbstractContextManager[Observer]
Place = str | Path
# "section.key=value", several of them, or {"section.key": value}.
Settings = str | Iterable[str] | Mapping[str, object]


def train(
    recipe: Place | Recipe = "quickstart",
    *,
    out: Place | None = None,
    settings: Settings = (),
    resume: bool = False,
    force: bool = False,
    device: str = "auto",
    observing: Observing | None = None,
) -> TrainResult | None:
    """Train a recipe (a path, a shipped name, or a Recipe) into `out`, by default artifacts/NAME.

    `settings` are "section.key=value" or {"section.key": value}. With `resume` the run goes on from its checkpoint,
    with `force` an earlier run there is replaced. Under torchrun each process trains its share; all but the first
    return None.
    """
    workspace = find_workspace(Path.cwd())
    resolved = recipe if isinstance(recipe, Recipe) else load_recipe(find_recipe(str(recipe)), _settings(settings))
    run = Run(from_here(Path(out) if out else workspace.artifacts / resolved.name))
    chosen = own_device(resolve_device(device))
    with joined(chosen) as processes, listening() as stop, ExitStack() as stack:
        observer = Observer()
        if processes.first:
            claim_folder(run, resolved, resume=resume, force=force)  # before the lock, which makes the folder
            stack.enter_context(lock(run))
            observer = stack.enter_context(observing or nullcontext(observer))
            claim_folder(run, resolved, resume=resume, force=force)
        result = train_flow(
            resolved,
            run,
            cache=workspace.data,
            device=chosen,
            stop=stop,
            resume=resume,
            observer=observer,
            processes=processes,
            reserve=reserve,
        )
        if result is not None:
            durable.write_text(run.result, as_text(to_json(result)))
    return result


def pack(
    run: Place | None = None,
    *,
    cap: int | None = None,
    code_bytes: int | Literal["auto"] | None = None,
    out: Place | None = None,
    settings: Settings = (),
    device: str = "auto",
    observing: Observing | None = None,
) -> PackResult:
    """Pack a run (its name or folder, by default the newest) into one file of at most `cap` bytes, code counted.

    `code_bytes` may be "auto", the size of the exported script. Writes the artifact and its ledger; a pack of the run
    that was there is kept under a name with its size. Another `out` touches nothing of the run.
    """
    workspace = find_workspace(Path.cwd())
    chosen = find_run(None if run is None else Path(run), workspace.artifacts)
    target = chosen.artifact if out is None else Path(out)
    counted: int | Callable[[Recipe], int] | None
    counted = (lambda recipe: len(script(recipe))) if code_bytes == "auto" else code_bytes
    own = target.resolve() == chosen.artifact.resolve()
    ledger = chosen.ledger if own else target.with_suffix(".ledger.json")
    with ExitStack() as stack:
        if own:  # another file touches nothing of the run, so that packs of one run may go side by side
            stack.enter_context(lock(chosen))
        stop = stack.enter_context(listening())
        observer = stack.enter_context(observing or nullcontext(Observer()))
        replaced = _replaceable(target)
        kept = stack.enter_context(keeping_pack(chosen)) if replaced and own else None
        result = pack_flow(
            chosen,
            cap=cap,
            code_bytes=counted,
            out=target,
            cache=workspace.data,
            device=resolve_device(device),
            stop=stop,
            settings=_settings(settings),
            observer=observer,
        )
        durable.write_text(ledger, as_text(to_json(result)))
        if kept:
            observer.note(f"the pack that was there is kept as {kept}")
        elif replaced:
            observer.note(f"replaced {target}, which had {replaced:,} bytes")
    return result


def _settings(given: Settings) -> list[str]:
    """Settings as the command line has them, of one text, several, or a mapping."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping):
        return [f"{key}={value}" for key, value in given.items()]
    return list(given)


def _replaceable(target: Path) -> int | None:
    """Bytes of the artifact that a pack would replace; raises UsageError where `target` is another file."""
    if not target.is_file():
        return None
    try:
        with target.open("rb") as file:
            known = file.read(len(MAGIC)) in (MAGIC, b"")
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {target}: {error.strerror or error}") from error
    if not known:
        raise UsageError(f"{target} is there and no artifact; name another --out, or move it away")
    return target.stat().st_size


def verify(
    artifact: Place | None = None,
    *,
    cap: int | None = None,
    code_bytes: int | None = None,
    max_bpb: float | None = None,
    max_loss: float | None = None,
    data: Place | None = None,
    tokens: int | None = None,
    prove: int = 0,
    device: str = "auto",
    observing: Observing | None = None,
) -> Verdict:
    """Measure the model in a file (a path, or a run's name) from the file alone; Verdict says which bounds it holds.

    The claim is held on its own text; `max_bpb` and `max_loss` on up to `tokens` tokens of `data`. `prove` tokens are
    coded and decoded. Nothing is raised for a bound that is broken: look at `passed` and `loss_held`.
    """
    given = {"cap": cap, "code_bytes": code_bytes, "max_bpb": max_bpb, "max_loss": max_loss}
    for key, value in given.items():
        if value is not None and not isinstance(value, (int, float)):
            raise UsageError(f"{key} must be a number, got {value!r}")
    bounds = Bounds(**{key: Bound(value, "caller") for key, value in given.items() if value is not None})
    choice = TextChoice(data=_text(data), tokens=tokens)
    path = find_artifact(None if artifact is None else Path(artifact), find_workspace(Path.cwd()).artifacts)
    with listening() as stop, observing or nullcontext(Observer()) as observer:
        return verify_flow(
            path,
            bounds=bounds,
            choice=choice,
            proved_tokens=prove,
            device=resolve_device(device),
            stop=stop,
            observer=observer,
        )


def _text(data: Place | None) -> Path | None:
    if data is not None and not Path(data).exists():
        raise UsageError(f"{data} does not exist; name a text, or a folder of shards")
    return None if data is None else Path(data)


def evaluate(
    model: Place | None = None,
    *,
    data: Place | None = None,
    tokens: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    reset: bool = False,
    text_field: str | None = None,
    device: str = "auto",
    observing: Observing | None = None,
) -> Evaluation:
    """Loss and bits per byte of an artifact, a checkpoint or a run on any text, with any window and stride."""
    path = find_model(None if model is None else Path(model), find_workspace(Path.cwd()).artifacts)
    choice = TextChoice(_text(data), tokens, window, text_field=text_field)
    with listening() as stop, observing or nullcontext(Observer()) as observer:
        return evaluate_flow(
            path,
            choice=choice,
            stride=stride,
            reset=reset,
            device=resolve_device(device),
            stop=stop,
            observer=observer,
        )
