"""The flow `train`: recipe → data → model → optimizers → checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from golf.compress.size_estimate import SizeEstimate
from golf.data import Batches, TokenSet, prepare, xz_bits_per_byte
from golf.errors import EnvironmentFailure, UsageError
from golf.model import Transformer, flops_per_token, initialize
from golf.optim import Optimizers
from golf.recipe import Recipe, recipe_to_toml
from golf.run.checkpoint import tensor_digest
from golf.run.find import is_run
from golf.run.folder import LOCK, Run, append_metrics, is_other_run, recipe_differences, truncate_metrics
from golf.runtime import durable
from golf.runtime.clock import Clock, peak_flops, steps_within
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.runtime.processes import ALONE, Processes
from golf.training.diagnostics import diagnose, matrices_of, predict_size, score_model
from golf.training.penalty_strength import with_strength
from golf.training.results import TrainResult
from golf.training.state import TrainingState

# Seconds of train.max_seconds that packing will need: (recipe, model, text, device, observer) → seconds. Callers pass
# `golf.packing.timing.reserve`, because flows do not import one another.
Reserve = Callable[[Recipe, Transformer, TokenSet, torch.device, Observer], float]

_PREPARING = "stopped while preparing the text; the same command goes on from what is cached"
_TIMING = "stopped before the first step; nothing was written"
_TRAINED = "stopped while measuring; the training is complete and saved, golf pack can go on"


def train(
    recipe: Recipe,
    run: Run,
    *,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    resume: bool = False,
    observer: Observer = Observer(),
    processes: Processes = ALONE,
    reserve: Reserve | None = None,
) -> TrainResult | None:
    """Train the model of `recipe` into the folder `run`; with `resume`, continue from its newest checkpoint.

    On the CPU the same recipe, text, threads, processes and library versions give the same weights bit for bit,
    whether interrupted or not. Of several processes the first writes and returns a result, the others return None.
    `reserve` estimates the seconds of train.max_seconds that a pack will take; a recipe whose budget.clock is
    "calibration" needs one. Raises Interrupted (saved), Diverged, DataError, DamagedCheckpoint, and EnvironmentFailure
    where another process ended.
    """
    if not processes.first:
        processes.wait()  # until the first one has the text in the cache
    state = _open(recipe, run, cache, device, stop, observer, processes)
    if processes.first:
        processes.wait()
    if resume:
        if note := state.restore():
            observer.note(note)
        if state.step >= _last_step(state):
            observer.note(f"the training was over already, at step {state.step}: it is only measured again")
    elif processes.first:
        state.reserved = _reserved(state, reserve, stop, observer)
        if run.recipe.exists():
            # an earlier run's files: cleared only now, after all checks that could refuse the new run
            run.clear()
    if processes.first:
        truncate_metrics(run.metrics, state.step)
        durable.write_text(run.recipe, recipe_to_toml(recipe))
    prediction = _steps(state, stop, observer)
    return _measure(state, prediction, stop, observer) if processes.first else None


def claim_folder(
    run: Run,
    recipe: Recipe,
    *,
    resume: bool,
    force: bool,
    instead: str = "continue it with --resume, or start over with --force",
) -> None:
    """Check that training `recipe` into `run` neither overwrites nor mixes runs; raises UsageError.

    `resume` needs a checkpoint of the same recipe in the folder, `force` allows any run there; without both there must
    be none, and `instead` is the advice in the error.
    """
    if run.folder.exists() and not run.folder.is_dir():
        raise UsageError(f"{run.folder} is a file; name a folder with --out")
    if not (is_run(run.folder) or (run.folder / LOCK).exists()) and (others := _others(run.folder)):
        raise UsageError(f"{run.folder} holds other things ({others}) and no run; name a folder of its own with --out")
    held = run.checkpoint.exists() or run.previous_checkpoint.exists()
    if resume:
        if not held:
            raise UsageError(f"{run.folder} holds no checkpoint to resume; start it without --resume")
        if differences := recipe_differences(run, recipe):
            listed = "; ".join(differences)
            raise UsageError(
                f"{run.folder} holds a run of another recipe ({listed}); continue it as it is with: "
                f"golf train --resume --out {run.folder}; or name another --out"
            )
    elif not force and (held or is_other_run(run, recipe)):
        raise UsageError(f"{run.folder} holds a run already; {instead}")


def _others(folder: Path) -> str:
    """The first names in a folder, but for hidden files; empty where there are none."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _open(
    recipe: Recipe,
    run: Run,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    observer: Observer,
    processes: Processes,
) -> TrainingState:
    """Data, model and optimizers of a run at step 0."""
    data = prepare(
        recipe.data,
        recipe.tokenizer,
        cache=cache,
        progress=observer.stage,
        stop=partial(stop.raise_if_stopped, _PREPARING),
    )
    model = Transformer(recipe.model, data.tokenizer.vocab_size)
    initialize(model, seed=recipe.seed)
    model.to(device)
    section = with_strength(recipe, model, data.tokenizer)
    optimizers = Optimizers(section, model, process_group=processes.group)
    return TrainingState(recipe, run, data, model, optimizers, device, processes)


def _reserved(state: TrainingState, reserve: Reserve | None, stop: StopFlag, observer: Observer) -> float:
    """Seconds of train.max_seconds that packing will need where budget.clock counts them; UsageError where all."""
    recipe = state.recipe
    if recipe.budget.clock != "calibration":
        return 0.0
    if reserve is None:
        raise ValueError('budget.clock = "calibration" needs an estimate of the pack: pass `reserve`')
    observer.stage("time the pack", 0.0)
    watched = observer.stopping(stop, _TIMING)
    seconds = reserve(recipe, state.model, state.data, state.device, watched)
    observer.note(
        f"{seconds:.1f} s of train.max_seconds = {recipe.train.max_seconds:g} are left to calibration and fine-tuning"
    )
    return seconds


def _steps(state: TrainingState, stop: StopFlag, observer: Observer) -> SizeEstimate | None:
    """The training loop, from the state's step to the last one; returns the last predicted size."""
    section = state.recipe.train
    batches = Batches(
        state.data.train,
        batch_tokens=section.batch_tokens,
        sequence_length=section.sequence_length,
        seed=state.recipe.seed,
    )
    forward = torch.compile(state.model.loss) if section.compile else state.model.loss
    clock = Clock(elapsed=state.elapsed, step=state.step)
    prediction: SizeEstimate | None = None
    sized: dict[str, Any] = {}
    while state.step < (steps := _last_step(state)):
        diagnosing = state.step + 1 == steps or (state.step + 1) % section.eval_every == 0
        before = matrices_of(state.model) if diagnosing and state.processes.first else {}
        batch = batches.batch(state.step)
        figures = state.take_step(forward, batch, steps=steps, stopping=stop.stopped())
        state.step, state.elapsed = state.step + 1, clock.elapsed
        if state.processes.count == 1:
            state.agreed_elapsed, state.agreed_stop = state.elapsed, stop.stopped()
        done = state.step >= _last_step(state)
        diagnosing = diagnosing or done  # after a slow step the clock may allow no other, although one was expected
        speaks = diagnosing or state.step % section.log_every == 0 or clock.is_first(state.step)
        if speaks and state.processes.first:
            record = _record(state, clock, figures)
            if diagnosing:
                seen, prediction = diagnose(state, before)
                record |= seen
                sized = {key: record[key] for key in record if key.startswith("predicted_")}
            _refuse_vanished(state.run)
            append_metrics(state.run.metrics, record)
            observer.record(record | sized | {"cap": state.recipe.budget.cap})
            clock.restart(state.step)
        due = done or state.agreed_stop or state.step % section.checkpoint_every == 0
        if due and state.processes.first:
            _refuse_vanished(state.run)
            state.save()
        if state.agreed_stop and not done:
            _stop(state, stop)
    return prediction


def _refuse_vanished(run: Run) -> None:
    """Raise EnvironmentFailure where the run's folder was deleted or moved, rather than make half a run of it again."""
    if not run.recipe.exists():
        raise EnvironmentFailure(f"{run.folder} was deleted or moved while it was trained; the training ends here")


def _last_step(state: TrainingState) -> int:
    """The step at which the run ends: the recipe's, or the one at which its seconds of training are spent."""
    section = state.recipe.train
    if section.max_seconds is None:
        return section.steps
    seconds = section.max_seconds - state.reserved
    return steps_within(elapsed=state.agreed_elapsed, step=state.step, seconds=seconds, steps=section.steps)


def _record(state: TrainingState, clock: Clock, figures: dict[str, float]) -> dict[str, Any]:
    """The metrics of the last step."""
    section = state.recipe.train
    speed = clock.steps_per_second(state.step) * section.batch_tokens
    flops = speed * flops_per_token(state.recipe.model, state.data.tokenizer.vocab_size, section.sequence_length)
    record = {
        "step": state.step,
        "tokens": state.step * section.batch_tokens,
        **figures,
        "tokens_per_s": round(speed),
        "gflops_per_s": round(flops / 1e9, 1),
        "elapsed": round(state.elapsed, 3),
    }
    if peak := _peak(state):
        record["mfu"] = round(flops / peak, 4)
    return record


def _peak(state: TrainingState) -> float | None:
    """Published peak bfloat16 FLOP/s of all the run's devices together; None where it is not known."""
    if state.device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(state.device))
    return peak and peak * state.processes.count


def _stop(state: TrainingState, stop: StopFlag) -> None:
    """Raise Interrupted with a message on how to continue; in every process when one was asked to stop."""
    if not stop.stopped():
        stop.receive(15)
    folder, steps = state.run.folder, state.recipe.train.steps
    stop.raise_if_stopped(
        f"stopped after step {state.step} of {steps}, saved in {folder}; "
        f"continue with: golf train --resume --out {folder}"
    )


def _measure(state: TrainingState, prediction: SizeEstimate | None, stop: StopFlag, observer: Observer) -> TrainResult:
    """Score the checkpoint as re-read from disk, and `xz -9e` on the same text."""
    observer.stage("measure", 0.0)
    if note := state.restore():
        observer.note(note)
    with state.averaged():
        score = score_model(state, state.recipe.verify.tokens, partial(stop.raise_if_stopped, _TRAINED))
        prediction = prediction or predict_size(state)
        weights = {name: p.detach().cpu().clone() for name, p in state.model.named_parameters()}
    text = state.data.tokenizer.decode(state.data.val.slice(0, score.tokens + 1))
    observer.stage("measure", 1.0)
    return TrainResult(
        run=state.run.folder,
        steps=state.step,
        tokens=state.step * state.recipe.train.batch_tokens,
        parameters=sum(p.numel() for p in weights.values()),
        val_loss=score.loss,
        val_bpb=score.bpb,
        xz_bpb=xz_bits_per_byte(text),
        val_tokens=score.tokens,
        val_bytes=score.bytes,
        seconds=state.elapsed,
        reserved_seconds=state.reserved,
        predicted_bytes=prediction.bytes,
        weights_sha256=tensor_digest(weights),
    )
