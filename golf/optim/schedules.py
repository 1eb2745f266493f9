"""Learning rate, momentum, weight decay and rank fraction as pure functions of the step."""

from __future__ import annotations

import math

from golf.recipe import RankSchedule, RatePenalty

_FIRST_MOMENTUM = 0.85


def learning_rate(step: int, *, steps: int, warmup: float, cooldown: float, min_lr: float) -> float:
    """Multiplier of the peak learning rate at `step` of `steps`: linear rise, plateau, linear fall (WSD).

    `warmup` and `cooldown` are shares of the steps; the last step has `min_lr`.
    """
    rise, fall = round(warmup * steps), round(cooldown * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    left = steps - 1 - step
    if fall and left < fall:
        return min_lr + (1 - min_lr) * left / fall
    return 1.0


def momentum(step: int, *, steps: int, warmup: float, peak: float) -> float:
    """Momentum at `step` of `steps`: rises linearly from 0.85 to `peak` over the share `warmup` of the steps.

    As in the speed runs that the contest is based on (github.com/KellerJordan/modded-nanogpt).
    """
    rise = round(warmup * steps)
    if step >= rise:
        return peak
    start = min(_FIRST_MOMENTUM, peak)
    return start + (peak - start) * step / rise


def weight_decay(step: int, *, steps: int, start: float, end: float | None) -> float:
    """Weight decay at `step` of `steps`: linear from `start` to `end`, or constant where `end` is None."""
    return start if end is None else start + (end - start) * step / max(steps - 1, 1)


def rate_penalty(step: int, *, steps: int, section: RatePenalty) -> float:
    """The rate penalty's strength at `step` of `steps`: the section's from `start` to `finish`, else 0."""
    if section.kind == "none" or not section.start <= step / steps < section.finish:
        return 0.0
    if section.strength == "auto":
        raise ValueError("an automatic strength is set from the cap before the first step")
    return section.strength


def rank_fraction(step: int, *, steps: int, schedule: RankSchedule, end: float | None = None) -> float:
    """Share r(t) of min(M, N) directions that an update keeps (arXiv:2603.03597, section 4).

    `fixed` keeps `end`; `piecewise` falls in four equal stairs; `cosine` falls along a half cosine. Both start to fall
    after `hold` and reach `end` at `finish`, early enough for weight decay to remove the full-rank phase's directions.
    `end`, where given, replaces the schedule's own.
    """
    start, end = schedule.start, schedule.end if end is None else end
    time = step / steps
    if schedule.kind == "fixed" or time >= schedule.finish:
        return end
    if time < schedule.hold:
        return start
    passed = (time - schedule.hold) / (schedule.finish - schedule.hold)
    if schedule.kind == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * passed)) / 2
    stairs = 4
    return start + (end - start) * (math.floor(passed * stairs) + 1) / (stairs + 1)


def rank_of(fraction: float, *, smaller_side: int, multiple: int = 16) -> int:
    """Rank k = ⌈fraction · min(M, N)⌉, rounded up to a multiple of 16 so that the basis is rarely resized."""
    rank = math.ceil(fraction * smaller_side - 1e-9)
    if smaller_side > multiple:
        rank = math.ceil(rank / multiple) * multiple
    return max(1, min(rank, smaller_side))
