"""Rate control of fine-tuning: what holds the bits of all symbols at what their file may take.

A price of bits within the objective lets gradients decide which symbols pay. It acts through a learning rate that falls
to 0, so it cannot hold the bits alone: targets are also projected onto the wanted bits by one Lagrange multiplier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from golf.compress.context_coder import Histogram

# PI controller of λ, in units of `bit_price`: initial value, gains on the relative excess of bits and on its sum
# over batches, and batches between updates. Packs of .6 M and 3 M parameters settled at .05 to .6.
START, _PROPORTIONAL, _INTEGRAL, EVERY = 0.5, 150.0, 3.0, 4
# Lower bound of λ. Below 0, where fine-tuning itself reduces the bits, it stays near 0: more bits gain nothing.
LEAST = -0.3
# A projection ends within this share of the wanted bits, less than the smallest error allowed of a file; its first move
# is at least this logarithm of a ratio of steps; and it makes at most this many evaluations. 15 were enough for 20 %
# fewer bits of 4,096 normal targets; more do not help where one symbol's bits exceed the error.
EXACT, _FIRST_MOVE, _MOST_TURNS = 1e-4, 1e-3, 16
# A projection onto no bits would make targets zero for good: never fewer than this share of the present ones at once.
_LEAST_SHARE = 0.05


class CodedTargets(Protocol):
    """Targets of one matrix, as the rate control sees them."""

    def project(self, ratio: float) -> None:
        """Move the targets to where symbols are the ones at `ratio` times the global step."""

    def count(self, histogram: Histogram, ratio: float = 1.0) -> None:
        """Add the symbols at `ratio` times the global step."""


class RateControl:
    """Controls the bits of all symbols: `price` is λ of the objective, `project` moves targets to a number of bits.

    Law: after `project(wanted)`, `bits()` is `wanted`, up to a share EXACT or to the bits of one symbol.
    """

    def __init__(self, matrices: Sequence[CodedTargets], price: float) -> None:
        """Want the bits that `matrices` have; `price` is that of a bit at their global step."""
        self._matrices, self._unit, self.price = matrices, price, price * START
        self._sum, self._last = 0.0, _FIRST_MOVE
        self.wanted = self.bits()

    def weighed(self, bytes_left: int) -> None:
        """Set the wanted bits to the present ones plus `bytes_left`; ideal bits alone do not give the file's size."""
        bits = self.bits()
        self.wanted = max(_LEAST_SHARE * bits, bits + 8 * bytes_left)

    def control(self, *, hold: bool) -> None:
        """Raise the price λ where there are too many bits, lower it where too few; with `hold`, also project."""
        excess = self.bits() / max(self.wanted, 1.0) - 1
        self._sum = max((LEAST - START) / _INTEGRAL, self._sum + excess * EVERY)
        self.price = self._unit * max(LEAST, START + _PROPORTIONAL * excess + _INTEGRAL * self._sum)
        if hold:
            self.project(self.wanted)

    def project(self, wanted: float) -> None:
        """Move targets to the nearest ones, in predicted loss, whose symbols take the `wanted` bits."""
        move = falling_root(lambda move: self.bits(move) - wanted, step=self._last, error=EXACT * wanted)
        for each in self._matrices:
            each.project(_ratio(move))
        self._last = max(abs(move), _FIRST_MOVE)

    def bits(self, move: float = 0.0) -> float:
        """Ideal bits of the symbols, as if the global step were exp(`move`) times as large."""
        histogram = Histogram()
        for each in self._matrices:
            each.count(histogram, _ratio(move))
        return histogram.ideal_bits()


def _ratio(move: float) -> float:
    """exp(`move`), bounded against overflow; at the bound every symbol has long been zero."""
    return math.exp(min(move, 100.0))


def falling_root(f: Callable[[float], float], *, step: float, error: float) -> float:
    """The x at which a decreasing f is 0 up to `error`; where f jumps over 0, the x tried with the least |f|.

    Moves away from x = 0 by `step` and growing multiples until f changes its sign, then searches the bracket.
    """
    x, fx = 0.0, f(0.0)
    best, side = (abs(fx), x), math.copysign(1.0, fx)
    inner, outer, f_inner, f_outer = x, math.nan, fx, math.nan
    for turn in range(_MOST_TURNS):
        if best[0] <= error:
            break
        if math.isnan(outer):
            x = inner + side * step * 3**turn
        else:  # regula falsi inside the bracket, never at its ends; every third time bisection
            share = 0.5 if turn % 3 == 0 else f_inner / (f_inner - f_outer)
            x = inner + (outer - inner) * min(0.95, max(0.05, share))
        fx = f(x)
        best = min(best, (abs(fx), x))
        if fx * side > 0:
            inner, f_inner = x, fx
        else:
            outer, f_outer = x, fx
    return best[1]
