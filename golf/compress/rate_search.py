"""Bytes to one global step: the only rate knob of a pack.

Every weight's step is c / (√g_i ℓ_j) with ONE constant c for the whole model, so bits per matrix, row and column follow
by themselves (reverse water-filling). A smaller c means more bytes and less loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from golf.compress.quantize import MAX_SYMBOL

T = TypeVar("T")

# A cap counts as hit when this share of it is left over, at most; and what a coder's whole words may leave anyway.
_SPARE = 1e-4
_WORDS = 16
# The same where packs are only to be compared.
_ROUGH = 5e-3
# Below this ratio of neighbouring steps only chance decides which is smaller.
_RATIO = 1 + 1e-5
# A step beyond which every symbol is zero, and which float32 still holds.
ENDLESS = 1e30
# The search is over as soon as it is close enough; this only bounds it where sizes jump.
_MOST_PROBES = 60
# Where sizes jump over the room, this many neighbours are tried, this far apart.
_MOST_NUDGES = 12
_NUDGE = 1e-4


@dataclass(frozen=True)
class Solution(Generic[T]):
    """The finest pack under the cap: the step, its bytes, what was built, and how many packs were tried."""

    scale: float
    size: int
    packed: T
    probes: int
    binding: bool
    """whether the cap, rather than the wanted quality, decided"""


def is_full(size: int, room: int, *, rough: bool = False) -> bool:
    """Whether a pack of `size` bytes leaves nothing worth filling."""
    return room - size <= max((_ROUGH if rough else _SPARE) * room, _WORDS)


def finest_scale(weights: int, gap: float) -> float:
    """The c at which rounding is predicted to cost `gap` nats per token: n · c² / 12 / 2 = gap.

    A weighted error is uniform within a step c, so every weight's predicted loss is c² / 24, whatever its sensitivity.
    """
    return math.sqrt(24 * gap / weights)


def least_scale(norm: float) -> float:
    """The c below which a scaled matrix of Frobenius norm `norm` could overflow its symbols, factors included."""
    return norm / MAX_SYMBOL


def bit_price(scale: float) -> float:
    """The loss (nats per token) that a bit is worth at the global step c: -dD/dR = 2 ln 2 D, D = c² / 24 a weight."""
    return 2 * math.log(2) * scale**2 / 24


def solve(
    build: Callable[[float], tuple[int, T]], *, room: int, finest: float, weights: int, rough: bool = False
) -> Solution[T] | int:
    """The smallest c ≥ `finest` whose pack fits in `room` bytes; else the smallest size reached, as an int.

    `build(c)` returns the real size and whatever it built. Sizes fall as c grows, but for single bytes of noise, so
    the pack returned is always one that was measured to fit. The search interpolates: doubling c saves about a bit for
    each of the `weights` at high rates, and less at low ones. A `rough` one leaves up to half a percent of the room.
    """
    size, packed = build(finest)
    if size <= room:
        return Solution(finest, size, packed, 1, binding=False)
    probes, low, low_size, smallest = 1, finest, size, size
    # where the bits over the room would be gone if each weight lost as many
    high = min(ENDLESS, finest * 2.0 ** min(64.0, max(0.01, 8 * (size - room) / weights)))
    while True:
        size, packed = build(high)
        probes += 1
        if size <= room:
            break
        if high >= ENDLESS:
            return min(size, smallest)
        stalls = size >= smallest and probes > 8
        low, low_size, smallest = high, size, min(smallest, size)
        high = ENDLESS if stalls else min(ENDLESS, high * (1.3 if probes < 4 else 2))
    best = Solution(high, size, packed, probes, binding=True)
    wanted = room - (_ROUGH if rough else _SPARE) * room / 2
    while not is_full(best.size, room, rough=rough) and best.scale / low > _RATIO and probes < _MOST_PROBES:
        middle = _between(low, low_size, best, wanted, halve=probes % 3 == 0)
        size, packed = build(middle)
        probes += 1
        if size <= room:
            best = Solution(middle, size, packed, probes, binding=True)
        else:
            low, low_size = middle, size
    return replace(best, probes=probes) if rough else _nudged(build, best, room, probes)


def _nudged(build: Callable[[float], tuple[int, T]], best: Solution[T], room: int, probes: int) -> Solution[T]:
    """The pack among neighbouring steps that fills the room best.

    Feedback makes symbols, and so sizes, jump by up to .1 % between steps that hardly differ.
    """
    start = best.scale
    for nudge in range(1, _MOST_NUDGES + 1):
        if is_full(best.size, room):
            break
        scale = start * (1 - nudge * _NUDGE)
        size, packed = build(scale)
        probes += 1
        if best.size < size <= room:
            best = Solution(scale, size, packed, probes, binding=True)
    return Solution(best.scale, best.size, best.packed, probes, binding=True)


def _between(low: float, low_size: int, best: Solution[T], wanted: float, *, halve: bool) -> float:
    """The step at which `wanted` bytes lie on the line through two sizes; now and then the middle, for safety."""
    share = 0.5 if halve else (low_size - wanted) / max(low_size - best.size, 1)
    return low * (best.scale / low) ** min(0.98, max(0.02, share))
