"""How long a pack reads training text on this machine, and how much of it the clock allows.

Timed on random tokens through the pack's own code: finding it out reads no training text and so costs no allowance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from golf.compress.encode_matrix import Prepared
from golf.compress.rate_search import finest_scale
from golf.data import TokenSet
from golf.errors import UsageError
from golf.model import Transformer
from golf.packing.finetune import tune
from golf.packing.inputs import CALIBRATION_BATCH, LOOK_BATCH, LOOK_TOKENS, TUNING, Source
from golf.packing.time_budget import Allowance, affordable, needed
from golf.recipe import Pack, Recipe
from golf.runtime.observer import Observer
from golf.runtime.parallel import in_order

# Timed once, a calibration on a busy machine took up to 1.2 times as long the next time (two cores, quickstart).
MARGIN = 1.25
# Text that is read up to four times teaches nearly as much as fresh text (arXiv:2305.16264).
_MOST_READINGS = 4
# Batches of a trial: the first warms up, and each one's time ends where the next is asked for.
_TRIAL = 3
# A trial of tuning takes a step at which caps bind: a gap of .05 nats per token. Its time hardly depends on it.
_TRIAL_GAP = 0.05


def on_the_clock(source: Source) -> Source:
    """`source` with what the training left of train.max_seconds, where budget.clock bounds training text's use by it.

    Raises UsageError where nothing is left.
    """
    seconds = source.recipe.train.max_seconds
    if source.recipe.budget.clock != "calibration" or seconds is None:
        return source
    allowance = Allowance(seconds - (source.trained or 0.0))
    if allowance.left <= 0:
        raise UsageError(_nothing_left(source, "no time"))
    allowance.expected |= {"calibration": MARGIN * calibration_seconds(source), "looks": MARGIN * look_seconds(source)}
    return replace(source, allowance=allowance)


def calibration_tokens(source: Source) -> int:
    """Tokens of calibration that end in time, with a look at the pack behind them: the recipe's, or fewer.

    Raises UsageError where there is not even time for one batch.
    """
    wanted, allowance = source.recipe.pack.calibration_tokens, source.allowance
    left = allowance.left - allowance.expected["looks"]
    tokens = _in_time(source, wanted, CALIBRATION_BATCH, each=allowance.expected["calibration"], left=left)
    if not tokens:
        raise UsageError(_nothing_left(source, f"{max(allowance.left, 0):.1f} s, too little"))
    return _noted(source, "calibration_tokens", wanted, tokens)


def tuning_tokens(source: Source, prepared: list[Prepared], scale: float) -> int:
    """Tokens of tuning at the step `scale` that end in time, with the looks behind them: the recipe's, fewer, or 0."""
    section, allowance = source.recipe.pack, source.allowance
    if not allowance.limited:
        return section.tune_tokens
    allowance.expected["tuning"] = each = MARGIN * tuning_seconds(source, prepared, scale)
    left = allowance.left - looks_of(section, behind_tuning=True) * allowance.expected["looks"]
    tokens = _in_time(source, section.tune_tokens, section.tune_batch_tokens, each=each, left=left)
    return _noted(source, "tune_tokens", section.tune_tokens, tokens)


def text_share(source: Source, tokens: int) -> float:
    """Share of the text's own loss in what a tuning on `tokens` tokens minimises: the recipe's, or 0.

    Text that was read too often teaches what does not hold elsewhere, and training text cannot tell.
    """
    fresh = source.seen + tokens <= _MOST_READINGS * len(source.data.train)
    return source.recipe.pack.tune_text if fresh else 0.0


def looks_of(section: Pack, *, behind_tuning: bool = False) -> int:
    """Looks at training text of a pack whose cap binds, or those of them that follow its tuning.

    Each way to round takes one with factors and one without; what was chosen takes one when it is filled. Plain
    integers that are tuned are filled before, and take one behind it.
    """
    compared = 2 if section.low_rank == "auto" else 1
    ways = 2 if section.quantizer == "auto" else 1
    tuned = section.tune_tokens > 0 and section.quantizer != "trellis"
    return ways * (compared + tuned) + 1 - behind_tuning * (compared + 1)


def reserve(
    recipe: Recipe,
    model: Transformer,
    data: TokenSet,
    device: torch.device,
    observer: Observer,
    check: Callable[[], None],
) -> float:
    """Seconds of train.max_seconds that a training leaves to its pack; raises UsageError where that is all of them."""
    return reserved_seconds(Source(recipe, model, data, device, observer, check))


def reserved_seconds(source: Source) -> float:
    """As `reserve`: the pack's speed is that of any weights, so those before training tell it."""
    pack, seconds = source.recipe.pack, source.recipe.train.max_seconds or 0.0
    uses = [
        (source.count(pack.calibration_tokens, batch_tokens=CALIBRATION_BATCH), calibration_seconds(source)),
        (looks_of(pack), look_seconds(source)),
    ]
    if pack.tune_tokens and pack.quantizer != "trellis":
        # the factors' spectra take long and tuning's speed hardly depends on factors
        plain = pack.model_copy(update={"low_rank": "off", "quantizer": "uniform"})
        bare = replace(source, recipe=source.recipe.model_copy(update={"pack": plain}))
        prepared = bare.prepared_for(bare.sensitivities(bare.noise(1, batch_tokens=CALIBRATION_BATCH)))
        scale = finest_scale(sum(each.scaled.size for each in prepared), _TRIAL_GAP)
        count = source.count(pack.tune_tokens, batch_tokens=pack.tune_batch_tokens)
        uses.append((count, tuning_seconds(bare, prepared, scale)))
    reserved = needed(uses, margin=MARGIN)
    if reserved >= seconds:
        raise UsageError(
            f"calibration and tuning take about {reserved:.1f} s here, and train.max_seconds = {seconds:g} bounds them "
            "together with the training; lower pack.tune_tokens and pack.calibration_tokens, or raise train.max_seconds"
        )
    return reserved


def tuning_batches(source: Source, tokens: int) -> Iterator[Tensor]:
    """Batches of about `tokens` tokens of training text to tune on, those that end in time, and on the clock.

    What tuning does before and behind them reads no text.
    """
    windows = source.windows(tokens, batch_tokens=source.recipe.pack.tune_batch_tokens, purpose=TUNING)
    with source.allowance.using("tuning"):
        yield from source.in_time(windows, "tuning")


def calibration_seconds(source: Source) -> float:
    """Seconds of one batch of the calibration, among as many as run at a time."""
    count = min(source.count(source.recipe.pack.calibration_tokens, batch_tokens=CALIBRATION_BATCH), _at_once(source))
    tokens = min(CALIBRATION_BATCH, source.recipe.pack.calibration_tokens)
    return _warm_seconds(lambda: source.sensitivities(source.noise(count, batch_tokens=tokens))) / count


def look_seconds(source: Source) -> float:
    """Seconds of a look: the loss of two models of one shape."""
    count = min(source.count(LOOK_TOKENS, batch_tokens=LOOK_BATCH), _at_once(source))

    @torch.inference_mode()
    def loss(window: Tensor) -> float:
        return float(source.model.loss(window))

    def pass_over() -> None:
        list(in_order(loss, source.noise(count, batch_tokens=LOOK_BATCH), device=source.device))

    return 2 * _warm_seconds(pass_over) / count * source.count(LOOK_TOKENS, batch_tokens=LOOK_BATCH)


def tuning_seconds(source: Source, prepared: list[Prepared], scale: float) -> float:
    """Seconds of one batch of tuning at the step `scale`."""
    section, asked = source.recipe.pack, []

    def batches() -> Iterator[Tensor]:
        for batch in source.noise(_TRIAL, batch_tokens=section.tune_batch_tokens):
            asked.append(time.monotonic())
            yield batch

    tune(source.model, prepared, batches(), count=_TRIAL, scale=scale, low_rank=section.low_rank)
    return [later - earlier for earlier, later in pairwise(asked)][-1]


def _warm_seconds(work: Callable[[], object]) -> float:
    """Seconds of the second of two turns."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _at_once(source: Source) -> int:
    """Batches that run at a time, no more than a calibration's."""
    return min(torch.get_num_threads(), 4) if source.device.type == "cpu" else 1


def _in_time(source: Source, wanted: int, batch_tokens: int, *, each: float, left: float) -> int:
    """Tokens of the batches that end within the seconds `left`; `wanted` where all do."""
    count = source.count(wanted, batch_tokens=batch_tokens)
    possible = affordable(count, each=each, left=left)
    return wanted if possible == count else possible * source.batch_size(wanted, batch_tokens=batch_tokens)


def _noted(source: Source, key: str, wanted: int, tokens: int) -> int:
    """`tokens`, with a note where they are fewer than the recipe wants."""
    if tokens < wanted:
        source.observer.note(
            f"pack.{key} = {wanted:,} is cut to {tokens:,}: the training left {source.allowance.left:.1f} s of "
            f"train.max_seconds = {source.recipe.train.max_seconds:g} for what still reads its text"
        )
    return tokens


def _nothing_left(source: Source, what: str) -> str:
    took = "" if source.trained is None else f" took {source.trained:.1f} s and"
    return (
        f"the training{took} left {what} of train.max_seconds = {source.recipe.train.max_seconds:g} for its "
        'calibration, which budget.clock = "calibration" counts in; pack outside that clock with '
        "--set budget.clock=training"
    )
