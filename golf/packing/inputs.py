"""Load the inputs of a pack: a checkpoint as a model, its recipe with overridden keys, and its training text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from golf.data import EvaluationText, TokenSet, evaluation_text, prepare
from golf.errors import DataError, UsageError
from golf.model import Transformer
from golf.recipe import Recipe, change_recipe
from golf.run.checkpoint import load_latest
from golf.run.folder import Run
from golf.run.load_model import load_model
from golf.run.state import RunState, recipe_of
from golf.runtime.clock import steps_within
from golf.runtime.observer import Observer


@dataclass(frozen=True)
class PackInputs:
    """A trained model, its recipe and its text."""

    recipe: Recipe
    model: Transformer
    data: TokenSet
    device: torch.device
    training_seconds: float | None = None
    """Seconds of the training; None where they are unknown, as for imported weights."""
    tokens_trained: int = 0
    """Tokens that the training read; 0 where they are unknown."""

    @cached_property
    def validation(self) -> EvaluationText:
        """The validation text of the claim, read again from its files, so that its bytes are the text's own."""
        # one more token than targets, so that a power of two of them are scored
        limit = self.recipe.verify.tokens + 1
        prepared = self.data.val.slice(0, min(limit, len(self.data.val)))
        if self.recipe.data.source == "shards":
            return EvaluationText(prepared)
        text = evaluation_text(self.recipe.data, self.data.tokenizer, limit=limit)
        if not np.array_equal(text.tokens, prepared):
            raise DataError("the validation text changed while it was being packed; run the command again")
        return text

    def with_code_bytes(self, code_bytes: int) -> PackInputs:
        """The same inputs with the bytes of the code that ships their recipe counted into the cap."""
        named = [f"budget.code_bytes={code_bytes}"]
        recipe = change_recipe(self.recipe, named, sections=("budget",), source="golf pack --code-bytes auto")
        return replace(self, recipe=recipe)


def load_inputs(
    run: Run, *, cache: Path, device: torch.device, observer: Observer, settings: Iterable[str] = ()
) -> PackInputs:
    """The newest sound checkpoint of `run` as a model, and the text that it was trained on.

    `settings` (section.key=value) override keys of the checkpoint's recipe. Raises DamagedCheckpoint, RecipeError for
    other sections than [budget], [pack] and [verify], and UsageError where the text differs from the training's.
    """
    checkpoint, note = load_latest(run.folder)
    if note:
        observer.note(note)
    state = RunState.of(checkpoint.state, source=str(run.checkpoint))
    trained = recipe_of(state, source=str(run.checkpoint))
    recipe = change_recipe(trained, settings, sections=("budget", "pack", "verify"), source="golf pack")
    if another := trained_for_another_cap(trained, recipe):
        observer.note(another)
    if (last := _last_step(recipe, state)) > state.step:
        observer.note(f"the training stopped at step {state.step} of {last}; packing that checkpoint")
    data = prepare(recipe.data, recipe.tokenizer, cache=cache, progress=observer.stage, stop=observer.check)
    if data.fingerprint != state.text:
        raise UsageError(f"{run.folder}: the text found is not the one this run was trained on; restore that text")
    model = load_model(checkpoint.tensors, recipe, data.tokenizer.vocab_size, source=str(run.checkpoint))
    # imported weights have no known training time and tokens: their recipe only says what a training would read
    seconds = state.elapsed or None
    tokens = state.step * recipe.train.batch_tokens if seconds else 0
    return PackInputs(recipe, model.to(device), data, device, seconds, tokens)


def trained_for_another_cap(trained: Recipe, packed: Recipe) -> str | None:
    """One sentence where the training's L1 penalty followed from other bytes than the pack's; else None."""
    before, now = (recipe.budget.cap - recipe.budget.code_bytes for recipe in (trained, packed))
    penalty = trained.optimizer.rate_penalty
    if penalty.kind == "none" or penalty.strength != "auto" or abs(now - before) <= before / 20:
        return None  # a twentieth, such as the bytes of code, moves the strength by less than the fit is good for
    return (
        f"this run's weights were trained for {before:,} bytes (optimizer.rate_penalty.strength = auto) and are packed "
        f"into {now:,}; a training with budget.cap={packed.budget.cap} would lose less"
    )


def _last_step(recipe: Recipe, state: RunState) -> int:
    """The step at which the training of a checkpoint would have ended, by its recipe or by its clock."""
    section = recipe.train
    if section.max_seconds is None or not state.elapsed:
        return section.steps
    seconds = section.max_seconds - state.reserved
    return steps_within(elapsed=state.elapsed, step=state.step, seconds=seconds, steps=section.steps)
