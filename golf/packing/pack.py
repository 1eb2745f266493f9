"""The flow `pack`: checkpoint → calibration → the best of a few candidates → artifact → ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from golf.artifact import BudgetEntry
from golf.compress.encode_matrix import CalibratedMatrix
from golf.evaluation.loss import Score
from golf.packing.calibrate import calibrate
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.finetune_to_budget import fine_tuner
from golf.packing.inputs import PackInputs, load_inputs
from golf.packing.ledgers import Written, clock_ledger, factor_entries, pack_result
from golf.packing.measure import held_out_gap, validation_score
from golf.packing.methods import Case
from golf.packing.publish import CLAIM_SLACKS, claim_of, publish
from golf.packing.results import PackResult
from golf.packing.search import Choice, Search
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.packing.timing import affordable_methods, calibration_tokens, time_budget_of
from golf.recipe import Recipe
from golf.run.folder import Run
from golf.runtime.clock import Stages
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while packing; no artifact was written"
# What a user sees of the stages, by the first words of their names; the search goes between 4 and 5 a few times.
_SEEN = {
    "calibrate": "calibrating",
    "scale": "scaling",
    "measure": "measuring the float model",
    "pack": "solving for the step",
    "tune": "fine-tuning",
    "measured": "measuring the file",
}
_PLACES = {word: f"pack {place} of 6: {seen}" for place, (word, seen) in enumerate(_SEEN.items(), 1)}


def pack(
    run: Run,
    *,
    cap: int | None,
    code_bytes: int | Callable[[Recipe], int] | None,
    out: Path,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    settings: Iterable[str] = (),
    observer: Observer = Observer(),
) -> PackResult:
    """Write the best artifact of `run`'s newest checkpoint whose size + code stays within `cap` bytes to `out`.

    Where budget.clock is "calibration" and the training left too little time, calibration and fine-tuning read less
    text. `settings` (section.key=value) override keys of the recipe; `cap` and `code_bytes` default to the recipe's.
    `code_bytes` may be a function of the recipe, for code that contains it. Raises CapError, with the smallest
    reachable size, when the cap is out of reach, and UsageError where the clock leaves no time at all; then and on
    every other failure a file at `out` stays as it was.
    """
    stages, watching = Stages(), observer.stopping(stop, _STOPPED)
    observer = watching.placed(_PLACES)
    given = {"cap": cap, "code_bytes": None if callable(code_bytes) else code_bytes}
    named = [f"budget.{key}={value}" for key, value in given.items() if value is not None]
    inputs = load_inputs(run, cache=cache, device=device, observer=observer, settings=[*settings, *named])
    if callable(code_bytes):
        inputs = inputs.with_code_bytes(code_bytes(inputs.recipe))
    packing = Packing.of(inputs, observer)
    stages.done("load")
    matrices = packing.calibrated()
    stages.done("calibrate")
    float_score = validation_score(inputs, inputs.model, observer)
    stages.done("measure float")
    budget = inputs.recipe.budget
    byte_budget = budget.cap - budget.code_bytes - CLAIM_SLACKS[0]
    choice = packing.best(packing.encoder(matrices, float_score), byte_budget)
    stages.done("solve and tune")
    kept = choice.kept
    last = watching.placed(_PLACES | {"measure": _PLACES["measured"]})
    solution, found = publish(inputs, kept.encoder, kept.solution, float_score, out, last)
    stages.done("measure packed")
    factors = factor_entries(kept.encoder, solution)
    stages.done("weigh factors")
    clock = clock_ledger(inputs, packing.time_budget, stages.seconds, observer)
    written = Written(out, solution, found, float_score)
    return pack_result(inputs, choice, written, factors=factors, clock=clock, seconds=stages.seconds)


@dataclass(frozen=True)
class Packing:
    """A pack in progress: its inputs, its windows of training text, its TimeBudget and its Observer."""

    inputs: PackInputs
    windows: TextWindows
    time_budget: TimeBudget
    observer: Observer

    @classmethod
    def of(cls, inputs: PackInputs, observer: Observer) -> Packing:
        """The Packing of `inputs`; raises UsageError where the training left no time."""
        windows = TextWindows.of(inputs, observer)
        return cls(inputs, windows, time_budget_of(inputs, windows), observer)

    def calibrated(self) -> list[CalibratedMatrix]:
        """Every matrix scaled by its steps, calibrated on the recipe's tokens or on as many as the clock allows."""
        section = self.inputs.recipe.pack
        tokens = calibration_tokens(self.inputs, self.windows, self.time_budget)
        self._note_cut("calibration_tokens", section.calibration_tokens, tokens)
        return calibrate(
            self.inputs.model,
            section,
            self.windows,
            self.time_budget,
            tokens=tokens,
            observer=self.observer,
        )

    def encoder(self, matrices: list[CalibratedMatrix], float_score: Score) -> ModelEncoder:
        """The encoder of calibrated matrices, with the float model's score as the placeholder of the claim."""
        recipe = self.inputs.recipe
        return ModelEncoder(
            recipe=recipe,
            model=self.inputs.model,
            tokenizer=self.inputs.data.tokenizer,
            matrices=matrices,
            budget=BudgetEntry(cap=recipe.budget.cap, code_bytes=recipe.budget.code_bytes),
            claim=claim_of(self.inputs, float_score, float_score),
            low_rank=recipe.pack.low_rank,
            observer=self.observer,
        )

    def best(self, encoder: ModelEncoder, byte_budget: int) -> Choice:
        """The best of the methods worth trying at `byte_budget` bytes; raises CapError where none fits."""
        inputs, windows = self.inputs, self.windows
        section, case = inputs.recipe.pack, Case.of(inputs, byte_budget)
        plan = affordable_methods(section, case, inputs, windows, self.time_budget, encoder.matrices)
        self._note_cut("tune_tokens", case.tokens, plan.tokens)
        search = Search(
            byte_budget=byte_budget,
            target_gap=section.target_gap,
            gap=self.gap,
            fine_tune=fine_tuner(inputs, plan, windows, self.time_budget, self.observer),
            refine=lambda: self.time_budget.left >= self.time_budget.expected["looks"],
        )
        return search.best(encoder, plan)

    def gap(self, encoder: ModelEncoder, encoded: EncodedModel) -> float:
        """Loss of the packed model minus the float model's, nats per token, on held-out training text."""
        rebuilt = encoder.decoded(encoded)
        with self.time_budget.using("looks"):
            return held_out_gap(self.inputs.model, rebuilt, self.windows)

    def _note_cut(self, key: str, wanted: int, tokens: int) -> None:
        """Note it to the observer where the clock allows fewer tokens than the recipe wants."""
        if tokens < wanted:
            self.observer.note(
                f"pack.{key} = {wanted:,} is cut to {tokens:,}: the training left {self.time_budget.left:.1f} s of "
                f"train.max_seconds = {self.inputs.recipe.train.max_seconds:g} for reading training text"
            )
