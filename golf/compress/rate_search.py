"""Search the global quantization step c at which the packed file fills its byte budget.

Every weight's step is c / (√g_i ℓ_j) with ONE constant c for the whole model, so c alone also allocates the bits of
matrices, rows and columns (reverse water-filling). A smaller c means more bytes and less loss.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from golf.compress.quantize import MAX_SYMBOL

T = TypeVar("T")

# A byte budget counts as full when at most this share of it, or at most these bytes, are unused: coders write whole
# words.
_LEFT_OVER = 1e-4
_WORDS = 16
# Two steps closer than this ratio are not told apart: their sizes differ by noise.
_RATIO = 1 + 1e-5
# A step beyond which every symbol is zero, and which float32 still holds.
ENDLESS = 1e30
# Upper bound on builds; it is reached only where sizes jump and never come close to the budget.
_MOST_PROBES = 60
# Where sizes jump over the budget, this many neighbouring steps are tried, at this relative distance.
_MOST_NUDGES = 12
_NUDGE = 1e-4
# Until the budget is bracketed, the next step aims beyond it by this share of the budget.
_BEYOND = 2e-3


@dataclass(frozen=True)
class Solution(Generic[T]):
    """The finest pack under the cap: its global step, bytes, what was built, and the number of builds tried."""

    scale: float
    size: int
    built: T
    probes: int
    binding: bool
    """True where the byte budget decided the step, False where the target gap was reached in fewer bytes."""


def is_full(size: int, byte_budget: int) -> bool:
    """Whether a pack of `size` bytes fits and leaves no more of the budget unused than the search can fill."""
    return 0 <= byte_budget - size <= max(_LEFT_OVER * byte_budget, _WORDS)


def finest_scale(weights: int, gap: float) -> float:
    """The c at which rounding is predicted to cost `gap` nats per token: n · c² / 12 / 2 = gap.

    A weighted error is uniform within a step c, so every weight's predicted loss is c² / 24, whatever its Fisher
    information.
    """
    return math.sqrt(24 * gap / weights)


def least_scale(norm: float) -> float:
    """The c below which a symbol of a scaled matrix of Frobenius norm `norm`, or of its factors, could overflow."""
    return norm / MAX_SYMBOL


def bit_price(scale: float) -> float:
    """Slope -dD/dR at the global step c, in nats per token per bit: 2 ln 2 D, with D = c² / 24 per weight."""
    return 2 * math.log(2) * scale**2 / 24


def solve(
    build: Callable[[float], tuple[int, T]],
    *,
    byte_budget: int,
    finest: float,
    weights: int,
    start: float | None = None,
    estimate: Callable[[float], float] | None = None,
) -> Solution[T] | int:
    """The smallest c ≥ `finest` whose pack fits in `byte_budget` bytes; else the smallest size reached, as an int.

    `build(c)` returns the real size and whatever it built. Sizes fall as c grows, but for single bytes of noise, so
    the pack returned is always one that was measured to fit. The search begins at `start`, brackets the budget, then
    interpolates. `estimate(c)` models the size up to a constant factor and gives the steps of the bracketing, the first
    one too where there is no `start`; without it the search begins at `finest`, and a doubling of c is assumed to save
    one bit per weight.
    """
    if start is None:
        start = finest if estimate is None else _inverse(estimate, byte_budget, finest)
    bracket = _bracketed(build, byte_budget, finest, weights, max(finest, start), estimate)
    if isinstance(bracket, int) or bracket.low is None or is_full(bracket.best.size, byte_budget):
        return bracket if isinstance(bracket, int) else bracket.best
    best, low, low_size, probes = bracket.best, bracket.low, bracket.low_size, bracket.best.probes
    wanted = byte_budget * (1 - _LEFT_OVER / 2)
    while not is_full(best.size, byte_budget) and best.scale / low > _RATIO and probes < _MOST_PROBES:
        middle = _between(low, low_size, best, wanted, halve=probes % 3 == 0)
        size, built = build(middle)
        probes += 1
        if size <= byte_budget:
            best = Solution(middle, size, built, probes, binding=True)
        else:
            low, low_size = middle, size
    return _nudged(build, best, byte_budget, probes)


@dataclass(frozen=True)
class _Bracket(Generic[T]):
    """A pack that fits, and the step and size of one that does not; `low` is None where `best` ends the search."""

    best: Solution[T]
    low: float | None = None
    low_size: int = 0


def _bracketed(
    build: Callable[[float], tuple[int, T]],
    byte_budget: int,
    finest: float,
    weights: int,
    scale: float,
    estimate: Callable[[float], float] | None,
) -> _Bracket[T] | int:
    """Bracket the budget between two steps; return the smallest size reached, as an int, where none fits."""
    low, low_size, smallest, best = None, 0, sys.maxsize, None
    for probes in itertools.count(1):
        size, built = build(scale)
        if size <= byte_budget:
            best = Solution(scale, size, built, probes, binding=scale > finest)
            if not best.binding or is_full(size, byte_budget):
                return _Bracket(best)
        else:
            if scale >= ENDLESS:
                return min(size, smallest)
            stalls = size >= smallest and probes > 8
            low, low_size, smallest = scale, size, min(smallest, size)
        if best is not None and low is not None:
            return _Bracket(replace(best, probes=probes), low, low_size)
        scale = (
            ENDLESS
            if low is not None and stalls
            else _further(scale, size, byte_budget, weights, probes, estimate, finest)
        )
        scale = min(ENDLESS, max(finest, scale))
    raise AssertionError  # the loop has no end of its own


def _further(
    scale: float,
    size: int,
    byte_budget: int,
    weights: int,
    probes: int,
    estimate: Callable[[float], float] | None,
    finest: float,
) -> float:
    """The next step of the bracketing: a little beyond the one at which the size model meets the budget.

    The model's relative error hardly depends on the step, so its sizes are scaled to the size just measured. From the
    third try on the model is taken to be wrong, and the step grows or shrinks geometrically.
    """
    octaves = 8 * (size - byte_budget) / weights
    if estimate is not None and probes < 3:
        wanted = estimate(scale) * byte_budget / size * (1 - math.copysign(_BEYOND, octaves))
        return _inverse(estimate, wanted, finest)
    step = max(0.01, abs(octaves)) * (1 if probes < 3 else 1.5 ** (probes - 2))
    return float(scale * 2.0 ** math.copysign(min(64.0, step), octaves))


def _inverse(estimate: Callable[[float], float], wanted: float, finest: float) -> float:
    """Bisect for the step ≥ `finest` at which the decreasing function `estimate` equals `wanted`, or is below it."""
    if estimate(finest) <= wanted:
        return finest
    low, high = math.log2(finest), math.log2(ENDLESS)
    for _ in range(24):  # to 2^-17 of an octave
        middle = (low + high) / 2
        low, high = (middle, high) if estimate(2.0**middle) > wanted else (low, middle)
    return float(2.0**high)


def _nudged(build: Callable[[float], tuple[int, T]], best: Solution[T], byte_budget: int, probes: int) -> Solution[T]:
    """The largest pack within the budget among `best` and a few finer neighbouring steps.

    With GPTQ error feedback symbols, and so sizes, jump by up to .1 % between steps that hardly differ.
    """
    start = best.scale
    for nudge in range(1, _MOST_NUDGES + 1):
        if is_full(best.size, byte_budget):
            break
        scale = start * (1 - nudge * _NUDGE)
        size, built = build(scale)
        probes += 1
        if best.size < size <= byte_budget:
            best = Solution(scale, size, built, probes, binding=True)
    return replace(best, probes=probes)


def _between(low: float, low_size: int, best: Solution[T], wanted: float, *, halve: bool) -> float:
    """Interpolate (log step against size) for the step of `wanted` bytes; with `halve`, bisect instead."""
    share = 0.5 if halve else (low_size - wanted) / max(low_size - best.size, 1)
    return low * (best.scale / low) ** min(0.98, max(0.02, share))
