"""The second flow: checkpoint → calibration → the best of a few candidates → artifact → ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from golf.artifact import BudgetEntry
from golf.compress.encode_matrix import Prepared
from golf.evaluation.loss import Score
from golf.packing.calibrate import calibrate
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.finetune_to_budget import fine_tuner
from golf.packing.inputs import PackInputs, load_inputs
from golf.packing.ledgers import Written, clock_ledger, factor_entries, pack_result
from golf.packing.measure import held_out_gap, score
from golf.packing.publish import CLAIM_SLACKS, claim_of, publish
from golf.packing.results import PackResult
from golf.packing.search import Choice, Search
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.packing.timing import affordable_methods, calibration_tokens, case_of, text_windows, time_budget_of
from golf.recipe import Recipe
from golf.run.folder import Run
from golf.runtime.clock import Stages
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while packing; no artifact was written"


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
    text. `cap` and `code_bytes` default to the recipe's, over which `settings` (section.key=value) are laid; code that
    ships the recipe is a function of it. Raises CapError, with the smallest reachable size, when the cap is out of
    reach, and UsageError where the clock leaves no time at all; then and on every other failure a file at `out` stays
    as it was.
    """
    stages, observer = Stages(), observer.stopping(stop, _STOPPED)
    inputs = load_inputs(run, cache=cache, device=device, observer=observer, settings=settings)
    inputs = inputs.with_budget(cap=cap)
    inputs = inputs.with_budget(code_bytes=code_bytes(inputs.recipe) if callable(code_bytes) else code_bytes)
    windows = text_windows(inputs, observer)
    time_budget = time_budget_of(inputs, windows)
    stages.done("load")
    matrices = calibrated(inputs, windows, time_budget, observer)
    stages.done("calibrate")
    float_score = score(inputs, inputs.model, observer)
    stages.done("measure float")
    encoder = model_encoder(inputs, matrices, float_score, observer)
    budget = inputs.recipe.budget
    byte_budget = budget.cap - budget.code_bytes - CLAIM_SLACKS[0]
    choice = best_pack(inputs, encoder, windows, time_budget, observer, byte_budget=byte_budget)
    stages.done("solve and tune")
    kept = choice.kept
    solution, found = publish(inputs, kept.encoder, kept.solution, float_score, out, observer)
    stages.done("measure packed")
    factors = factor_entries(kept.encoder, solution)
    stages.done("weigh factors")
    clock = clock_ledger(inputs, time_budget, stages.seconds, observer)
    written = Written(out, solution, found, float_score)
    return pack_result(inputs, choice, written, factors=factors, clock=clock, seconds=stages.seconds)


def calibrated(inputs: PackInputs, windows: TextWindows, time_budget: TimeBudget, observer: Observer) -> list[Prepared]:
    """Every matrix scaled by its steps, from as many tokens of calibration as the recipe says and the clock allows."""
    section = inputs.recipe.pack
    tokens = calibration_tokens(inputs, windows, time_budget)
    _note_cut(inputs, time_budget, observer, "calibration_tokens", section.calibration_tokens, tokens)
    return calibrate(
        inputs.model, section, windows, time_budget, tokens=tokens, factors=section.low_rank != "off", observer=observer
    )


def model_encoder(inputs: PackInputs, matrices: list[Prepared], float_score: Score, observer: Observer) -> ModelEncoder:
    """The encoder of calibrated matrices, with the float model's score in the claim's place."""
    budget, section = inputs.recipe.budget, inputs.recipe.pack
    return ModelEncoder(
        recipe=inputs.recipe,
        model=inputs.model,
        tokenizer=inputs.data.tokenizer,
        prepared=matrices,
        budget=BudgetEntry(cap=budget.cap, code_bytes=budget.code_bytes),
        claim=claim_of(inputs, float_score, float_score),
        low_rank=section.low_rank,
        observer=observer,
    )


def best_pack(
    inputs: PackInputs,
    encoder: ModelEncoder,
    windows: TextWindows,
    time_budget: TimeBudget,
    observer: Observer,
    *,
    byte_budget: int,
) -> Choice:
    """The best of the methods worth trying at `byte_budget` bytes; raises CapError where none fits."""
    section, case = inputs.recipe.pack, case_of(inputs, byte_budget)
    plan = affordable_methods(section, case, inputs, windows, time_budget, encoder.prepared)
    _note_cut(inputs, time_budget, observer, "tune_tokens", case.tokens, plan.tokens)

    def gap(used: ModelEncoder, encoded: EncodedModel) -> float:
        with time_budget.using("looks"):
            return held_out_gap(inputs.model, used.decoded(encoded), windows)

    search = Search(
        byte_budget=byte_budget,
        target_gap=section.target_gap,
        gap=gap,
        fine_tune=fine_tuner(inputs, plan, windows, time_budget, observer),
        refine=not time_budget.limited,
    )
    return search.best(encoder, plan)


def _note_cut(
    inputs: PackInputs, time_budget: TimeBudget, observer: Observer, key: str, wanted: int, tokens: int
) -> None:
    """Say so where the clock allows fewer tokens than the recipe wants."""
    if tokens < wanted:
        observer.note(
            f"pack.{key} = {wanted:,} is cut to {tokens:,}: the training left {time_budget.left:.1f} s of "
            f"train.max_seconds = {inputs.recipe.train.max_seconds:g} for what still reads its text"
        )
