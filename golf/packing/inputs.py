"""What a pack starts from: a checkpoint as a model, the text it was trained on, and what both say of its matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from golf.compress.encode_matrix import Prepared, prepare_matrix
from golf.compress.fisher import Sensitivity, measure
from golf.compress.trellis import STATES
from golf.data import Batches, TokenSet, prepare
from golf.errors import DamagedCheckpoint, UsageError
from golf.evaluation.loss import Score, evaluate
from golf.model import Transformer
from golf.packing.encoder import as_weights
from golf.packing.time_budget import Allowance
from golf.recipe import Recipe, change_recipe, recipe_from_dict
from golf.run.checkpoint import load_latest
from golf.run.folder import Run
from golf.runtime.clock import steps_within
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.runtime.parallel import in_order

_STOPPED = "stopped while packing; no artifact was written"
# What a training leaves for packing, beside the weights.
_STATE = {"recipe", "step", "text"}
# Tokens of one backward pass of the calibration.
CALIBRATION_BATCH = 4096
# A look: windows of TRAINING text on which packs are compared with the float model, so many at once.
LOOK_TOKENS, LOOK_BATCH = 16_384, 2048
# Added to the recipe's seed: calibration, tuning and looks take their windows elsewhere than training, and each other.
CALIBRATION, TUNING, LOOKS = 1, 2, 3


@dataclass(frozen=True)
class Source:
    """What is packed: a checkpoint, the text it came from, and how to be watched and stopped."""

    recipe: Recipe
    model: Transformer
    data: TokenSet
    device: torch.device
    observer: Observer
    check: Callable[[], None]
    trained: float | None = None
    """seconds of the training; None where nobody knows"""
    seen: int = 0
    """tokens that the training read; 0 where nobody knows"""
    allowance: Allowance = field(default_factory=Allowance)
    """seconds for which training text may still be read"""

    def windows(self, tokens: int, *, batch_tokens: int, purpose: int) -> Iterator[Tensor]:
        """Batches of windows (B, T+1) int64 of TRAINING text, about `tokens` targets in all, at least one batch."""
        T = self.recipe.train.sequence_length
        batches = Batches(
            self.data.train,
            batch_tokens=self.batch_size(tokens, batch_tokens=batch_tokens),
            sequence_length=T,
            seed=self.recipe.seed + purpose,
        )
        for index in range(self.count(tokens, batch_tokens=batch_tokens)):
            self.check()
            yield torch.from_numpy(batches.batch(index)).to(self.device)

    def in_time(self, windows: Iterator[Tensor], use: str) -> Iterator[Tensor]:
        """`windows` until another one of them and a look would not end in time; what is done with them is a `use`."""
        for window in windows:
            yield window
            if not self.allowance.fits(use, "looks"):
                break

    def noise(self, count: int, *, batch_tokens: int) -> Iterator[Tensor]:
        """`count` batches of windows (B, T+1) int64 of random tokens, which take as long as text."""
        T, generator = self.recipe.train.sequence_length, torch.Generator().manual_seed(self.recipe.seed)
        rows = self.batch_size(batch_tokens, batch_tokens=batch_tokens) // T
        for _ in range(count):
            self.check()
            yield torch.randint(self.model.vocab_size, (rows, T + 1), generator=generator).to(self.device)

    def batch_size(self, tokens: int, *, batch_tokens: int) -> int:
        """Tokens of one batch that `windows` yields: whole windows."""
        T = self.recipe.train.sequence_length
        return max(1, min(batch_tokens, tokens) // T) * T

    def count(self, tokens: int, *, batch_tokens: int) -> int:
        """Number of batches that `windows` yields."""
        return max(1, tokens // self.batch_size(tokens, batch_tokens=batch_tokens))

    def prepared(self, calibration_tokens: int | None = None) -> list[Prepared]:
        """Every matrix scaled by the steps that follow from its sensitivity, which is measured on training text.

        On as many tokens as the recipe says, or `calibration_tokens`.
        """
        windows = self._calibration(calibration_tokens or self.recipe.pack.calibration_tokens)
        with self.allowance.using("calibration"):
            sensitivities = self.sensitivities(self.in_time(windows, "calibration"))
        return self.prepared_for(sensitivities)

    def sensitivities(self, windows: Iterable[Tensor]) -> dict[str, Sensitivity]:
        """How much the loss on batches of `windows` (B, T+1) minds an error in each matrix."""
        section = self.recipe.pack
        return measure(
            self.model, windows, seed=self.recipe.seed, row_smoothing=section.row_smoothing, damping=section.damping
        )

    def prepared_for(self, sensitivities: dict[str, Sensitivity]) -> list[Prepared]:
        """`prepared`, where the sensitivities are known."""
        section = self.recipe.pack
        matrices = [(name, p) for name, p in self.model.named_parameters() if p.ndim == 2]
        states = 0 if section.quantizer == "uniform" else STATES

        def watched() -> Iterator[tuple[str, Tensor]]:
            for index, (name, parameter) in enumerate(matrices):
                self.check()
                self.observer.stage(f"decompose {name}", index / len(matrices))
                yield name, parameter

        def prepared(matrix: tuple[str, Tensor]) -> Prepared:
            name, parameter = matrix
            given = name, as_weights(parameter), sensitivities[name]
            return prepare_matrix(*given, low_rank=section.low_rank, states=states)

        return list(in_order(prepared, watched()))

    def _calibration(self, tokens: int) -> Iterator[Tensor]:
        count = self.count(tokens, batch_tokens=CALIBRATION_BATCH)
        widest = max(p.shape[1] for p in self.model.parameters() if p.ndim == 2)
        if tokens < widest:
            self.observer.note(
                f"pack.calibration_tokens = {tokens:,} is less than the {widest:,} inputs of the widest matrix; "
                "damping stands in for what the text does not show"
            )
        batches = self.windows(tokens, batch_tokens=CALIBRATION_BATCH, purpose=CALIBRATION)
        for index, batch in enumerate(batches):
            self.observer.stage("calibrate", index / count)
            yield batch

    def score(self, model: Transformer) -> Score:
        """Loss on the validation text of the claim."""
        data = self.data
        # one more token than targets, so that a power of two of them are scored
        tokens = data.val.slice(0, min(self.recipe.verify.tokens + 1, len(data.val)))
        return evaluate(
            model,
            tokens,
            data.tokenizer.byte_counts(tokens),
            sequence_length=self.recipe.train.sequence_length,
            device=self.device,
            progress=lambda share: self.observer.stage("measure", share),
            stop=self.check,
        )

    def scored_text(self, score: Score) -> bytes:
        """The text of the scored targets and of the first context token."""
        return self.data.tokenizer.decode(self.data.val.slice(0, score.tokens + 1))


def load_source(
    run: Run,
    *,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    observer: Observer,
    budget: dict[str, int | None],
    settings: Iterable[str],
) -> Source:
    """The newest sound checkpoint of `run` as a model, and the text that it was trained on.

    `settings` (section.key=value) and then `budget` are laid over the recipe that the checkpoint carries.
    """
    checkpoint, note = load_latest(run.folder)
    if note:
        observer.note(note)
    state = checkpoint.state
    if missing := _STATE - state.keys():
        raise DamagedCheckpoint(str(run.checkpoint), f"lacks {', '.join(sorted(missing))}: another release wrote it")
    recipe = recipe_from_dict(state["recipe"], source=str(run.checkpoint))
    # what the flags ask for becomes part of the recipe that the artifact states
    named = [f"budget.{key}={value}" for key, value in budget.items() if value is not None]
    recipe = change_recipe(recipe, [*settings, *named], sections=("budget", "pack", "verify"), source="golf pack")
    if (last := _last_step(recipe, state)) > state["step"]:
        observer.note(f"the training stopped at step {state['step']} of {last}; packing what is there")
    data = prepare(
        recipe.data,
        recipe.tokenizer,
        cache=cache,
        progress=observer.stage,
        stop=partial(stop.raise_if_stopped, _STOPPED),
    )
    if data.fingerprint != state["text"]:
        raise UsageError(f"{run.folder}: the text at hand is not the one this run was trained on; give it back")
    model = _model(checkpoint.tensors, recipe, data.tokenizer.vocab_size, run).to(device)
    # weights that were imported come without their training's time
    trained = float(state.get("elapsed", 0.0)) or None
    # nor without its tokens: their recipe only says what a training would read
    seen = state["step"] * recipe.train.batch_tokens if trained else 0
    return Source(recipe, model, data, device, observer, partial(stop.raise_if_stopped, _STOPPED), trained, seen)


def _last_step(recipe: Recipe, state: dict[str, Any]) -> int:
    """The step at which the training of a checkpoint would have ended, by its recipe or by its clock."""
    section = recipe.train
    elapsed, seconds = float(state.get("elapsed", 0.0)), section.max_seconds
    if seconds is None or not elapsed:
        return section.steps
    seconds -= float(state.get("reserved", 0.0))
    return steps_within(elapsed=elapsed, step=int(state["step"]), seconds=seconds, steps=section.steps)


def _model(tensors: dict[str, Tensor], recipe: Recipe, vocab_size: int, run: Run) -> Transformer:
    model = Transformer(recipe.model, vocab_size)
    # the average of the weights, where the recipe keeps one, is what the training was measured by
    kept = "average." if any(name.startswith("average.") for name in tensors) else "model."
    weights = {k.removeprefix(kept): v for k, v in tensors.items() if k.startswith(kept)}
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise DamagedCheckpoint(
                f"{run.checkpoint}: {name}", "holds weights that are not finite; it cannot be packed"
            )
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise DamagedCheckpoint(str(run.checkpoint), "its weights do not fit its own recipe") from None
    return model
