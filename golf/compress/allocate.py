"""Bytes to one global step: the only rate knob of a pack.

Every weight's step is c / √F_ij with ONE constant c for the whole model, so bits per matrix, row and column follow by
themselves (reverse water-filling). A smaller c means more bytes and less loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from golf.compress.quantize import MAX_SYMBOL

T = TypeVar("T")

# Ratio of neighbouring c at which bisection stops: .02 % in the step is about .0003 bits a weight.
_RATIO = 1.0002
# Doublings of c tried before all symbols must have become zero: float32 weights span 2^277.
_MOST_DOUBLINGS = 300


@dataclass(frozen=True)
class Solution(Generic[T]):
    """The finest pack under the cap: the step, its bytes, what was built, and how many packs were tried."""

    scale: float
    size: int
    packed: T
    probes: int
    binding: bool
    """whether the cap, rather than the wanted quality, decided"""


def finest_scale(weights: int, gap: float) -> float:
    """The c at which rounding is predicted to cost `gap` nats per token: n · c² / 12 / 2 = gap.

    Steps are c / √F, so every weight's predicted loss is ½ F Δ² / 12 = c² / 24, whatever its sensitivity.
    """
    return math.sqrt(24 * gap / weights)


def least_scale(norm: float) -> float:
    """The c below which a scaled matrix of Frobenius norm `norm` could overflow its symbols, factors included."""
    return norm / MAX_SYMBOL


def solve(build: Callable[[float], tuple[int, T]], *, room: int, finest: float) -> Solution[T] | int:
    """The smallest c ≥ `finest` whose pack fits in `room` bytes; else the smallest size reached, as an int.

    `build(c)` returns the real size and whatever it built. Sizes fall as c grows, but for single bytes of noise, so
    the pack returned is always one that was measured to fit.
    """
    size, packed = build(finest)
    if size <= room:
        return Solution(finest, size, packed, 1, binding=False)
    low, high, probes, smallest = finest, finest, 1, size
    best: Solution[T] | None = None
    while best is None:
        low, high = high, high * 2
        size, packed = build(high)
        probes += 1
        if size <= room:
            best = Solution(high, size, packed, probes, binding=True)
        elif (probes > 8 and size >= smallest) or probes > _MOST_DOUBLINGS:
            return min(size, smallest)
        smallest = min(smallest, size)
    while high / low > _RATIO and room - best.size > 0:
        middle = math.sqrt(low * high)
        size, packed = build(middle)
        probes += 1
        if size <= room:
            high, best = middle, Solution(middle, size, packed, probes, binding=True)
        else:
            low = middle
    return Solution(best.scale, best.size, best.packed, probes, binding=True)
