"""The first flow: recipe → data → model → optimizers → checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from golf.compress.size_estimate import Prediction
from golf.data import Batches, TokenSet, prepare, xz_bits_per_byte
from golf.errors import UsageError
from golf.model import Transformer, flops_per_token, initialize
from golf.optim import Optimizers
from golf.recipe import Recipe, recipe_to_toml
from golf.run.checkpoint import tensor_digest
from golf.run.folder import Run, append_metrics, is_other_run, recipe_differences, truncate_metrics
from golf.runtime import durable
from golf.runtime.clock import Clock, peak_flops, steps_within
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.runtime.processes import ALONE, Processes
from golf.training.diagnostics import look, matrices_of, predict_size, score_model
from golf.training.results import TrainResult
from golf.training.state import Session

# Seconds of train.max_seconds that packing will need: (recipe, model, text, device, observer) → seconds. The
# packer has it; flows do not import one another, so callers hand it over.
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
    """Train what `recipe` says into `run`; with `resume`, continue from its newest checkpoint.

    On the CPU the same recipe, text, threads, processes and library versions give the same weights bit for bit,
    whether interrupted or not. Of several processes the first writes and returns a result, the others None. `reserve`
    estimates what a pack will take of train.max_seconds; a recipe whose budget.clock is "calibration" needs one. Raises
    Interrupted (saved), Diverged, DataError, DamagedCheckpoint, and EnvironmentFailure where another process ended.
    """
    if not processes.first:
        processes.wait()  # until the first one has the text in the cache
    session = _open(recipe, run, cache, device, stop, observer, processes)
    if processes.first:
        processes.wait()
    if resume:
        if note := session.restore():
            observer.note(note)
        if session.step >= _last_step(session):
            observer.note(f"the training was over already, at step {session.step}: it is only measured again")
    elif processes.first:
        session.reserved = _reserved(session, reserve, stop, observer)
        if run.recipe.exists():
            # an earlier run's files; everything that could refuse the new one has had its say
            run.clear()
    if processes.first:
        truncate_metrics(run.metrics, session.step)
        durable.write_text(run.recipe, recipe_to_toml(recipe))
    prediction = _steps(session, stop, observer)
    return _measure(session, prediction, stop, observer) if processes.first else None


def claim_folder(
    run: Run,
    recipe: Recipe,
    *,
    resume: bool,
    force: bool,
    instead: str = "continue it with --resume, or start over with --force",
) -> None:
    """Make sure that training `recipe` into `run` destroys nothing and mixes nothing; raises UsageError.

    `resume` wants a checkpoint of the same recipe there, `force` allows any run there, neither wants none; `instead` is
    what to do then where there is one.
    """
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


def _open(
    recipe: Recipe,
    run: Run,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    observer: Observer,
    processes: Processes,
) -> Session:
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
    optimizers = Optimizers(recipe.optimizer, model, process_group=processes.group)
    return Session(recipe, run, data, model, optimizers, device, processes)


def _reserved(session: Session, reserve: Reserve | None, stop: StopFlag, observer: Observer) -> float:
    """Seconds of train.max_seconds that packing will need, where budget.clock counts it in; UsageError where all."""
    recipe = session.recipe
    if recipe.budget.clock != "calibration":
        return 0.0
    if reserve is None:
        raise ValueError('budget.clock = "calibration" needs an estimate of the pack: pass `reserve`')
    observer.stage("time the pack", 0.0)
    watched = observer.stopping(stop, _TIMING)
    seconds = reserve(recipe, session.model, session.data, session.device, watched)
    observer.note(
        f"{seconds:.1f} s of train.max_seconds = {recipe.train.max_seconds:g} are left to calibration and tuning"
    )
    return seconds


def _steps(session: Session, stop: StopFlag, observer: Observer) -> Prediction | None:
    """The training loop, from the session's step to its last; returns the last predicted size."""
    section = session.recipe.train
    batches = Batches(
        session.data.train,
        batch_tokens=section.batch_tokens,
        sequence_length=section.sequence_length,
        seed=session.recipe.seed,
    )
    forward = torch.compile(session.model.loss) if section.compile else session.model.loss
    clock = Clock(elapsed=session.elapsed, step=session.step)
    prediction: Prediction | None = None
    sized: dict[str, Any] = {}
    while session.step < (steps := _last_step(session)):
        looks = session.step + 1 == steps or (session.step + 1) % section.eval_every == 0
        before = matrices_of(session.model) if looks and session.processes.first else {}
        batch = batches.batch(session.step)
        figures = session.take_step(forward, batch, steps=steps, stopping=stop.stopped())
        session.step, session.elapsed = session.step + 1, clock.elapsed
        if session.processes.count == 1:
            session.agreed_elapsed, session.agreed_stop = session.elapsed, stop.stopped()
        done = session.step >= _last_step(session)
        looks = looks or done  # a slow step may be the last although another one was foreseen
        speaks = looks or session.step % section.log_every == 0 or clock.is_first(session.step)
        if speaks and session.processes.first:
            record = _record(session, clock, figures)
            if looks:
                seen, prediction = look(session, before)
                record |= seen
                sized = {key: record[key] for key in record if key.startswith("predicted_")}
            append_metrics(session.run.metrics, record)
            observer.record(record | sized | {"cap": session.recipe.budget.cap})
            clock.restart(session.step)
        due = done or session.agreed_stop or session.step % section.checkpoint_every == 0
        if due and session.processes.first:
            session.save()
        if session.agreed_stop and not done:
            _stop(session, stop)
    return prediction


def _last_step(session: Session) -> int:
    """The step at which the run ends: the recipe's, or the one at which its own seconds will be spent."""
    section = session.recipe.train
    if section.max_seconds is None:
        return section.steps
    seconds = section.max_seconds - session.reserved
    return steps_within(elapsed=session.agreed_elapsed, step=session.step, seconds=seconds, steps=section.steps)


def _record(session: Session, clock: Clock, figures: dict[str, float]) -> dict[str, Any]:
    """The metrics of the last step."""
    section = session.recipe.train
    speed = clock.steps_per_second(session.step) * section.batch_tokens
    flops = speed * flops_per_token(session.recipe.model, session.data.tokenizer.vocab_size, section.sequence_length)
    record = {
        "step": session.step,
        "tokens": session.step * section.batch_tokens,
        **figures,
        "tokens_per_s": round(speed),
        "gflops_per_s": round(flops / 1e9, 1),
        "elapsed": round(session.elapsed, 3),
    }
    if peak := _peak(session):
        record["mfu"] = round(flops / peak, 4)
    return record


def _peak(session: Session) -> float | None:
    """bfloat16 FLOP/s that the run's devices could reach together; None where nobody has published it."""
    if session.device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(session.device))
    return peak and peak * session.processes.count


def _stop(session: Session, stop: StopFlag) -> None:
    """Raise Interrupted, with what is saved and how to go on; in every process when one was asked."""
    if not stop.stopped():
        stop.receive(15)
    folder, steps = session.run.folder, session.recipe.train.steps
    stop.raise_if_stopped(
        f"stopped after step {session.step} of {steps}, saved in {folder}; "
        f"continue with: golf train --resume --out {folder}"
    )


def _measure(session: Session, prediction: Prediction | None, stop: StopFlag, observer: Observer) -> TrainResult:
    """Score the checkpoint as re-read from disk, beside `xz -9e` on the same text."""
    observer.stage("measure", 0.0)
    if note := session.restore():
        observer.note(note)
    with session.averaged():
        score = score_model(session, session.recipe.verify.tokens, partial(stop.raise_if_stopped, _TRAINED))
        prediction = prediction or predict_size(session)
        weights = {name: p.detach().cpu().clone() for name, p in session.model.named_parameters()}
    text = session.data.tokenizer.decode(session.data.val.slice(0, score.tokens + 1))
    observer.stage("measure", 1.0)
    return TrainResult(
        run=session.run.folder,
        steps=session.step,
        tokens=session.step * session.recipe.train.batch_tokens,
        parameters=sum(p.numel() for p in weights.values()),
        val_loss=score.loss,
        val_bpb=score.bpb,
        xz_bpb=xz_bits_per_byte(text),
        val_tokens=score.tokens,
        val_bytes=score.bytes,
        seconds=session.elapsed,
        reserved_seconds=session.reserved,
        predicted_bytes=prediction.bytes,
        weights_sha256=tensor_digest(weights),
    )
