"""Time a pack's calibration, fine-tuning and measurements on this machine, and cut tokens and methods to its clock.

Speeds are timed on random tokens through the pack's own code: that reads no training text and so costs no budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from golf.compress.encode_matrix import CalibratedMatrix
from golf.compress.rate_search import finest_scale
from golf.data import TokenSet
from golf.errors import UsageError
from golf.model import Transformer
from golf.packing.calibrate import fisher, scaled_matrices
from golf.packing.finetune import finetune
from golf.packing.inputs import PackInputs
from golf.packing.methods import TUNING_SHARE, Case, Method, Methods, methods
from golf.packing.text_windows import CALIBRATION_BATCH, HELD_OUT_BATCH, HELD_OUT_TOKENS, TextWindows
from golf.packing.time_budget import TimeBudget, affordable
from golf.recipe import Pack, Recipe
from golf.runtime.observer import Observer
from golf.runtime.parallel import parallel_map

# Factor on timed seconds: on a busy machine a calibration took up to 1.2 times as long as timed (two cores).
MARGIN = 1.25
# Batches of a trial: the first warms up, and a batch's time ends when the next is requested.
_TRIAL = 3
# Predicted gap of a fine-tuning trial's step, nats per token, as where caps bind; the time hardly depends on it.
_TRIAL_GAP = 0.05


def time_budget_of(inputs: PackInputs, windows: TextWindows) -> TimeBudget:
    """The seconds of train.max_seconds that the training left, where budget.clock = "calibration"; else no limit.

    Raises UsageError where nothing is left.
    """
    seconds = inputs.recipe.train.max_seconds
    if inputs.recipe.budget.clock != "calibration" or seconds is None:
        return TimeBudget()
    found = TimeBudget(seconds - (inputs.training_seconds or 0.0))
    if found.left <= 0:
        raise UsageError(_nothing_left(inputs, "no time"))
    found.expected |= {
        "calibration": MARGIN * calibration_seconds(inputs.model, inputs.recipe.pack, windows),
        "looks": MARGIN * measurement_seconds(inputs.model, windows),
    }
    return found


def calibration_tokens(inputs: PackInputs, windows: TextWindows, time_budget: TimeBudget) -> int:
    """Tokens of calibration that end in time, with a measurement after them: the recipe's, or fewer.

    Raises UsageError where there is not even time for one batch.
    """
    wanted, expected = inputs.recipe.pack.calibration_tokens, time_budget.expected
    left = time_budget.left - expected["looks"]
    tokens = _in_time(windows, wanted, CALIBRATION_BATCH, each=expected["calibration"], left=left)
    if not tokens:
        raise UsageError(_nothing_left(inputs, f"{max(time_budget.left, 0):.1f} s, too little"))
    return tokens


def affordable_methods(
    section: Pack,
    case: Case,
    inputs: PackInputs,
    windows: TextWindows,
    time_budget: TimeBudget,
    matrices: list[CalibratedMatrix],
) -> Methods:
    """The methods for `case` that the clock allows, with as many tokens of fine-tuning as it allows.

    Estimates the seconds of measurements and of batches of fine-tuning.
    """
    plan = methods(section, case)
    if not time_budget.limited:
        return plan
    measurement, granted = time_budget.expected["looks"], 0.0
    if (tuned := _fine_tuned(plan.tried)) is not None:
        each = MARGIN * fine_tuning_seconds(inputs.model, section, windows, matrices, tuned)
        time_budget.expected["tuning"] = each
        left = time_budget.left - measurement * measurements(plan.tried)
        tokens = _in_time(windows, case.tokens, section.tune_batch_tokens, each=each, left=left)
        plan = methods(section, replace(case, tokens=tokens))
        if _fine_tuned(plan.tried) is not None:
            granted = each * windows.count(tokens, batch_tokens=section.tune_batch_tokens)
    left = max(0.0, time_budget.left - granted)
    return _shortened(plan, most=int(left / measurement) if measurement else measurements(plan.tried))


def measurements(tried: tuple[Method, ...]) -> int:
    """Number of measurements on held-out training text: one per method, two with fine-tuning (before and after)."""
    return sum(1 + each.fine_tune for each in tried)


def _fine_tuned(tried: tuple[Method, ...]) -> Method | None:
    """The method that is fine-tuned, if any; never more than one is."""
    return next((each for each in tried if each.fine_tune), None)


def _shortened(plan: Methods, *, most: int) -> Methods:
    """`plan` without the last methods, until at most `most` measurements are left, or one method."""
    kept = plan.tried
    while len(kept) > 1 and measurements(kept) > most:
        kept = kept[:-1]
    left_out = {each: "the clock leaves no time to measure it" for each in plan.tried if each not in kept}
    return replace(plan, tried=kept, skipped=plan.skipped | left_out)


def reserve(recipe: Recipe, model: Transformer, data: TokenSet, device: torch.device, observer: Observer) -> float:
    """Seconds of train.max_seconds that a training leaves to its pack, timed on untrained weights.

    Raises UsageError where the pack would take all of them.
    """
    inputs = PackInputs(recipe, model, data, device)
    windows = TextWindows.of(inputs, observer)
    section, seconds = recipe.pack, recipe.train.max_seconds or 0.0
    byte_budget = recipe.budget.cap - recipe.budget.code_bytes
    # the tokens of the training depend on the clock: the recipe's are the most, and a plan for none differs
    case = Case.of(inputs, byte_budget)
    whole = replace(inputs, tokens_trained=recipe.train.steps * recipe.train.batch_tokens)
    cases = [case, Case.of(whole, byte_budget)]
    plans = [methods(section, each).tried for each in cases]
    needed = measurement_seconds(model, windows) * max(map(measurements, plans))
    calibrations = windows.count(section.calibration_tokens, batch_tokens=CALIBRATION_BATCH)
    needed += calibrations * calibration_seconds(model, section, windows)
    if (tuned := _fine_tuned(sum(plans, ()))) is not None:
        found = fisher(model, section, windows.random(1, batch_tokens=CALIBRATION_BATCH), seed=recipe.seed)
        matrices = scaled_matrices(model, found, observer)
        batches = windows.count(max(each.tokens for each in cases), batch_tokens=section.tune_batch_tokens)
        tuning = batches * fine_tuning_seconds(model, section, windows, matrices, tuned)
        needed += tuning if section.tune_tokens != "auto" else min(tuning, TUNING_SHARE * seconds)
    if MARGIN * needed >= seconds:
        raise UsageError(
            f"calibration and fine-tuning take about {MARGIN * needed:.1f} s here, and train.max_seconds = {seconds:g} "
            "bounds them together with the training; lower pack.tune_tokens and pack.calibration_tokens, or raise "
            "train.max_seconds"
        )
    return MARGIN * needed


def calibration_seconds(model: Transformer, section: Pack, windows: TextWindows) -> float:
    """Seconds of one batch of the calibration, with as many batches in parallel as the calibration has."""
    count = windows.count(section.calibration_tokens, batch_tokens=CALIBRATION_BATCH)
    count = min(count, _at_once(windows.device))
    tokens = min(CALIBRATION_BATCH, section.calibration_tokens)
    seed = windows.seed
    return _warm_seconds(lambda: fisher(model, section, windows.random(count, batch_tokens=tokens), seed=seed)) / count


def measurement_seconds(model: Transformer, windows: TextWindows) -> float:
    """Seconds of one measurement on held-out training text: the losses of two models of one shape."""
    whole = windows.count(HELD_OUT_TOKENS, batch_tokens=HELD_OUT_BATCH)
    count = min(whole, _at_once(windows.device))

    @torch.inference_mode()
    def loss(window: Tensor) -> float:
        return float(model.loss(window))

    def pass_over() -> None:
        list(parallel_map(loss, windows.random(count, batch_tokens=HELD_OUT_BATCH), device=windows.device))

    return 2 * _warm_seconds(pass_over) / count * whole


def fine_tuning_seconds(
    model: Transformer, section: Pack, windows: TextWindows, matrices: list[CalibratedMatrix], method: Method
) -> float:
    """Seconds of one batch of fine-tuning by `method`."""
    asked = []
    plain = [replace(each, states=0) for each in matrices]

    def batches() -> Iterator[Tensor]:
        for batch in windows.random(_TRIAL, batch_tokens=section.tune_batch_tokens):
            asked.append(time.monotonic())
            yield batch

    scale = finest_scale(sum(each.scaled.size for each in plain), _TRIAL_GAP)
    finetune(model, plain, batches(), count=_TRIAL, scale=scale, low_rank=method.low_rank)
    return [later - earlier for earlier, later in pairwise(asked)][-1]


def _warm_seconds(work: Callable[[], object]) -> float:
    """Seconds of the second of two calls of `work`."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _at_once(device: torch.device) -> int:
    """Number of batches in parallel, at most that of a calibration."""
    return min(torch.get_num_threads(), 4) if device.type == "cpu" else 1


def _in_time(windows: TextWindows, wanted: int, batch_tokens: int, *, each: float, left: float) -> int:
    """Tokens of the batches that end within the seconds `left`; `wanted` where all do."""
    count = windows.count(wanted, batch_tokens=batch_tokens)
    possible = affordable(count, each=each, left=left)
    return wanted if possible == count else possible * windows.batch_size(wanted, batch_tokens=batch_tokens)


def _nothing_left(inputs: PackInputs, what: str) -> str:
    seconds = inputs.training_seconds
    took = "" if seconds is None else f" took {seconds:.1f} s and"
    return (
        f"the training{took} left {what} of train.max_seconds = {inputs.recipe.train.max_seconds:g} for its "
        'calibration, which budget.clock = "calibration" counts; pack outside that clock with '
        "--set budget.clock=training"
    )
