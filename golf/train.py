"""The first flow: recipe → data → model → optimizers → checkpoint."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golf import durable
from golf.checkpoint import load_latest, save_checkpoint, tensor_digest
from golf.compress.predict import Prediction, predict
from golf.compress.sensitivity import measure
from golf.data import Batches, TokenSet, prepare, xz_bits_per_byte
from golf.errors import Diverged, UsageError
from golf.evaluate import Score, evaluate
from golf.interrupt import StopFlag
from golf.model import Transformer, initialize, role
from golf.observer import Observer
from golf.optim import Optimizers, learning_rate
from golf.optim.spectral import effective_rank, stable_rank
from golf.recipe import Recipe, recipe_to_toml
from golf.results import TrainResult
from golf.runs import Run, append_metrics, is_other_run, recipe_differences, truncate_metrics

_PREPARING = "stopped while preparing the text; the same command goes on from what is cached"
_TRAINED = "stopped while measuring; the training is complete and saved, golf pack can go on"
# Sequences behind each predicted size during training: its error from them is below that of the entropy estimate.
_LOOK_WINDOWS = 8


@dataclass
class _Session:
    """Everything that changes while training, and what it needs to go on."""

    recipe: Recipe
    run: Run
    data: TokenSet
    model: Transformer
    optimizers: Optimizers
    device: torch.device
    step: int = 0
    elapsed: float = 0.0

    def save(self) -> None:
        """Write the checkpoint of `step` steps done; refuses weights that are no longer finite."""
        self.check_weights()
        weights = {f"model.{name}": p.detach() for name, p in self.model.named_parameters()}
        tensors = weights | {f"optimizer.{name}": t for name, t in self.optimizers.tensors().items()}
        tensors["tokenizer"] = torch.frombuffer(bytearray(self.data.tokenizer.serialized or b"\0"), dtype=torch.uint8)
        save_checkpoint(self.run.checkpoint, {k: v.cpu() for k, v in tensors.items()}, self._state())

    def check_weights(self) -> None:
        """Raise Diverged for a weight that is no longer finite."""
        for name, weight in self.model.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise Diverged(f"step {self.step}: {name} is not finite; {_kept(self.run)}")

    def restore(self) -> str | None:
        """Continue from the newest sound checkpoint; returns a note if that was not the newest one."""
        checkpoint, note = load_latest(self.run.folder)
        if checkpoint.state.get("text") != self.data.fingerprint:
            raise UsageError(
                f"{self.run.folder}: the text at hand is not the one this run was trained on; give it back"
            )
        own = {k.removeprefix("model."): v for k, v in checkpoint.tensors.items() if k.startswith("model.")}
        try:
            self.model.load_state_dict(own)
        except RuntimeError:
            raise UsageError(f"{self.run.folder} holds weights of another shape; name another --out") from None
        states = {k.removeprefix("optimizer."): v for k, v in checkpoint.tensors.items() if k.startswith("optimizer.")}
        self.optimizers.restore(states)
        self.step, self.elapsed = int(checkpoint.state["step"]), float(checkpoint.state["elapsed"])
        if checkpoint.state["threads"] != torch.get_num_threads() and self.device.type == "cpu":
            threads = checkpoint.state["threads"]
            changed = (
                f"the run used {threads} threads; with {torch.get_num_threads()} it continues, but not bit for bit"
            )
            note = f"{note}; {changed}" if note else changed
        return note

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "elapsed": self.elapsed,
            "recipe": self.recipe.model_dump(mode="json"),
            "tokenizer_kind": self.data.tokenizer.kind,
            "text": self.data.fingerprint,
            "vocab_size": self.data.tokenizer.vocab_size,
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }


def train(
    recipe: Recipe,
    run: Run,
    *,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    resume: bool = False,
    observer: Observer = Observer(),
) -> TrainResult:
    """Train what `recipe` says into `run`; with `resume`, continue from its newest checkpoint.

    On the CPU the same recipe, text, threads and library versions give the same weights bit for bit, whether
    interrupted or not. Raises Interrupted (saved), Diverged, DataError, DamagedCheckpoint.
    """
    session = _open(recipe, run, cache, device, stop, observer)
    if resume:
        if note := session.restore():
            observer.note(note)
    elif run.recipe.exists():  # an earlier run's files; everything that could refuse the new one has had its say
        for path in run.files:
            path.unlink(missing_ok=True)
    truncate_metrics(run.metrics, session.step)
    durable.write_text(run.recipe, recipe_to_toml(recipe))
    prediction = _steps(session, stop, observer)
    return _measure(session, prediction, stop, observer)


def claim_folder(run: Run, recipe: Recipe, *, resume: bool, force: bool) -> None:
    """Make sure that training `recipe` into `run` destroys nothing and mixes nothing; raises UsageError.

    `resume` wants a checkpoint of the same recipe there, `force` allows any run there, neither wants none.
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
        raise UsageError(f"{run.folder} holds a run already; continue it with --resume, or start over with --force")


def _open(recipe: Recipe, run: Run, cache: Path, device: torch.device, stop: StopFlag, observer: Observer) -> _Session:
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
    return _Session(recipe, run, data, model, Optimizers(recipe.optimizer, model), device)


def _steps(session: _Session, stop: StopFlag, observer: Observer) -> Prediction:
    """The training loop, from the session's step to the recipe's last; returns the last predicted size."""
    section = session.recipe.train
    batches = Batches(
        session.data.train,
        batch_tokens=section.batch_tokens,
        sequence_length=section.sequence_length,
        seed=session.recipe.seed,
    )
    forward = torch.compile(session.model.loss) if section.compile else session.model.loss
    clock = _Clock(session)
    prediction: Prediction | None = None
    sized: dict[str, Any] = {}
    while session.step < section.steps:
        figures = _step(session, forward, batches.batch(session.step))
        clock.tick()
        done = session.step == section.steps
        looks = done or session.step % section.eval_every == 0
        if looks or session.step % section.log_every == 0 or clock.first:
            record = clock.record(figures)
            if looks:
                prediction = _look(session, record)
                sized = {key: record[key] for key in record if key.startswith("predicted_")}
            append_metrics(session.run.metrics, record)
            observer.record(record | sized | {"cap": session.recipe.budget.cap})
            clock.restart()
        if done or stop.stopped() or session.step % section.checkpoint_every == 0:
            session.save()
        if not done:
            stop.raise_if_stopped(_how_to_resume(session))
    return prediction or _predict(session)


class _Clock:
    """Counts a session's steps and seconds, and speaks the speed since the last record; looks are not counted."""

    def __init__(self, session: _Session) -> None:
        self._session = session
        self._started = time.monotonic() - session.elapsed
        self._began_at = session.step
        self.restart()

    @property
    def first(self) -> bool:
        """Whether this is the first step since the start or the resume: a sign of life for the user."""
        return self._session.step == self._began_at + 1

    def tick(self) -> None:
        """One step is done."""
        self._session.step += 1
        self._session.elapsed = time.monotonic() - self._started

    def restart(self) -> None:
        """Measure speed from here on."""
        self._since = (time.monotonic() - self._started, self._session.step)

    def record(self, figures: dict[str, float]) -> dict[str, Any]:
        """The metrics of the last step."""
        session = self._session
        tokens = session.recipe.train.batch_tokens
        seconds, steps = session.elapsed - self._since[0], session.step - self._since[1]
        return {
            "step": session.step,
            "tokens": session.step * tokens,
            **figures,
            "tokens_per_s": round(steps * tokens / max(seconds, 1e-9)),
            "elapsed": round(session.elapsed, 3),
        }


def _how_to_resume(session: _Session) -> str:
    folder, steps = session.run.folder, session.recipe.train.steps
    return (
        f"stopped after step {session.step} of {steps}, saved in {folder}; "
        f"continue with: golf train --resume --out {folder}"
    )


def _step(session: _Session, loss_of: Callable[[Tensor], Tensor], batch: NDArray[np.int64]) -> dict[str, float]:
    """One optimizer step on `batch` (B, T+1); returns its loss, learning rate of the matrices and rank fraction."""
    section = session.recipe.train
    multiplier = learning_rate(
        session.step, steps=section.steps, warmup=section.warmup, cooldown=section.cooldown, min_lr=section.min_lr
    )
    rank = session.optimizers.schedule(multiplier, session.step, section.steps)
    windows = torch.from_numpy(batch)
    rows = max(1, section.micro_batch_tokens // section.sequence_length)
    total = 0.0
    for micro in windows.split(rows):  # type: ignore[no-untyped-call]
        with _precision(session.device):
            loss = loss_of(micro.to(session.device, non_blocking=True)) * (len(micro) / len(windows))
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    norm = torch.nn.utils.get_total_norm([p.grad for p in session.model.parameters() if p.grad is not None])
    if not np.isfinite(total) or not bool(torch.isfinite(norm)):
        raise Diverged(_blame(session, total))
    torch.nn.utils.clip_grads_with_norm_(session.model.parameters(), section.clip, norm)
    session.optimizers.step()
    session.optimizers.zero_grad()
    return {"train_loss": total, "lr": session.recipe.optimizer.lr * multiplier, "rank_fraction": rank}


def _blame(session: _Session, loss: float) -> str:
    """Which step, which tensor, and what to try, when training stopped being finite."""
    where = f"step {session.step + 1}"
    if np.isfinite(loss):
        broken = (n for n, p in session.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all())
        guilty = next(broken, None)
        where += f": the gradient of {guilty}" if guilty else ": the norm of the gradient"
    else:
        where += ": the loss"
    return f"{where} is not finite; {_kept(session.run)}"


def _kept(run: Run) -> str:
    kept = "the last good checkpoint is kept" if run.checkpoint.exists() else "no checkpoint was written yet"
    return f"{kept} in {run.folder}; try a smaller optimizer.lr"


def _look(session: _Session, record: dict[str, Any]) -> Prediction:
    """Add validation loss, ranks by role, and the predicted packed size to a metrics record."""
    session.check_weights()
    score = _score(session, session.recipe.train.eval_tokens)
    if not np.isfinite(score.loss):
        raise Diverged(f"step {session.step}: the validation loss is not finite; {_kept(session.run)}")
    record |= {"val_loss": score.loss, "val_bpb": score.bpb}
    record |= _ranks(session.model)
    prediction = _predict(session)
    record |= {f"predicted_{key}": value for key, value in dataclasses.asdict(prediction).items()}
    return prediction


def _score(session: _Session, tokens: int, stop: StopFlag | None = None) -> Score:
    """Loss on the first `tokens` validation tokens."""
    # one more token than targets, so that a power of two of them are scored
    scored = session.data.val.slice(0, min(tokens + 1, len(session.data.val)))
    return evaluate(
        session.model,
        scored,
        session.data.tokenizer.byte_counts(scored),
        sequence_length=session.recipe.train.sequence_length,
        device=session.device,
        stop=None if stop is None else partial(stop.raise_if_stopped, _TRAINED),
    )


def _ranks(model: Transformer) -> dict[str, dict[str, float]]:
    """Mean stable and effective rank of each matrix role."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            values = torch.linalg.svdvals(parameter.detach().float())
            found.setdefault(role(name), []).append((stable_rank(values), effective_rank(values)))
    means = {key: np.mean(pairs, axis=0).round(2).tolist() for key, pairs in found.items()}
    return {
        "stable_rank": {key: pair[0] for key, pair in means.items()},
        "effective_rank": {key: pair[1] for key, pair in means.items()},
    }


def _predict(session: _Session) -> Prediction:
    """The packed size at the recipe's cap, were the run to end now."""
    recipe, T = session.recipe, session.recipe.train.sequence_length
    looks = Batches(session.data.train, batch_tokens=T, sequence_length=T, seed=recipe.seed + 1)
    sensitivities = measure(
        session.model,
        (torch.from_numpy(looks.batch(i)).to(session.device) for i in range(_LOOK_WINDOWS)),
        seed=recipe.seed,
        row_smoothing=recipe.pack.row_smoothing,
        damping=recipe.pack.damping,
    )
    small = sum(p.numel() * 4 for p in session.model.parameters() if p.ndim != 2)
    return predict(
        {n: p.detach().float().cpu().numpy() for n, p in session.model.named_parameters() if p.ndim == 2},
        sensitivities,
        other_bytes=small + session.data.tokenizer.packed_size,
        room=recipe.budget.cap - recipe.budget.code_bytes,
        target_gap=recipe.pack.target_gap,
    )


def _measure(session: _Session, prediction: Prediction, stop: StopFlag, observer: Observer) -> TrainResult:
    """Score the checkpoint as re-read from disk, beside `xz -9e` on the same text."""
    observer.stage("measure", 0.0)
    if note := session.restore():
        observer.note(note)
    score = _score(session, session.recipe.verify.tokens, stop)
    text = session.data.tokenizer.decode(session.data.val.slice(0, score.tokens + 1))
    weights = {name: p.detach().cpu() for name, p in session.model.named_parameters()}
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
        predicted_bytes=prediction.bytes,
        weights_sha256=tensor_digest(weights),
    )


def _precision(device: torch.device) -> Any:
    """bf16 products on CUDA; float32 on the CPU, where resuming must be exact."""
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
