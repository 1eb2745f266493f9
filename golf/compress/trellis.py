"""Trellis-coded quantization: a state machine driven by the symbols' parities selects each symbol's grid (of two).

The integers v = 0, ±1, ±2, ... are divided into grid 0 (even ones, v = 2 k) and grid 1 (odd ones and 0,
v = 2 k - sign k), so a symbol k costs about as many bits as on a grid of step 2. Its parity moves the state, and the
states' grids are those of an Ungerboeck code. The path nearest to the targets, found by the Viterbi algorithm, has the
error of a vector quantizer of many dimensions: with an entropy coder .1 to .16 bits a weight closer to the
rate-distortion limit than rounding (Marcellin & Fischer 1990; Fischer & Wang, Entropy-constrained trellis-coded
quantization, 1992; grids and symbols as in the dependent quantization of H.266, 8.7.3).

Paths run down the rows of a matrix, since rounding goes column by column and the errors of a column's rows are
independent in the Fisher cost. Row t · S + s is step t of lane s: a column has S lanes, each of at most SEGMENT steps
from state 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from golf.compress.quantize import MAX_SYMBOL, Symbols

Values = NDArray[np.float32]

# Steps of a lane: 64 cost 1 % of the loss gap, 32 cost 3 % (docs/log.md). A reader decodes step by step, so shorter
# lanes are faster.
SEGMENT = 128
STATES = 8
# Parity checks h0, h1 (octal) of the amplitude modulation codes, by number of states (Ungerboeck 1982, table I).
PARITY_CHECKS = {4: (0o5, 0o2), 8: (0o13, 0o4), 16: (0o23, 0o4)}
# Mean squared error in units of the finer grid, at high rate with 8 states; rounding to a grid of step 2 has 1/3.
NOISE = 0.2594
# The finer grid's step over the step of uniform rounding with the same error.
GRAIN = math.sqrt(1 / 12 / NOISE)


class Trellis:
    """A trellis code: the grid of each state, and the next state for each parity of a symbol."""

    def __init__(self, states: int = STATES) -> None:
        """`states` is 4, 8 or 16; raises KeyError for any other number."""
        self.states = states
        self.grid, self.after = _code(states)
        before = [[(s, p) for s in range(states) for p in (0, 1) if self.after[s, p] == n] for n in range(states)]
        # for each state its two predecessors (2, states), and the candidate value of a target on each of those moves
        self._before = np.array([[pair[i][0] for pair in before] for i in (0, 1)], dtype=np.intp)
        parity = np.array([[pair[i][1] for pair in before] for i in (0, 1)], dtype=np.intp)
        self._candidate = 2 * self.grid[self._before].astype(np.intp) + parity

    def values(self, symbols: Symbols) -> Values:
        """Values (M, N) float32 of symbols (M, N)."""
        return on_grids(symbols, self.grids(symbols))

    def grids(self, symbols: Symbols) -> NDArray[np.uint8]:
        """The grid of each symbol (M, N), 0 or 1."""
        grids = np.empty(symbols.shape, dtype=np.uint8)

        def known(rows: slice, grid: NDArray[np.uint8]) -> Symbols:
            grids[rows] = grid
            return symbols[rows]

        self.walk(symbols.shape[0], symbols.shape[1], known)
        return grids

    def walk(self, M: int, N: int, symbols_of: Callable[[slice, NDArray[np.uint8]], Symbols]) -> None:
        """Follow all lanes of an (M, N) matrix, step by step.

        `symbols_of(rows, grids)` returns the symbols (n, N) of some rows, given their grids (n, N).
        """
        S = lanes(M)
        state, after = np.zeros((S, N), dtype=np.uint8), self.after.reshape(-1)
        for start in range(0, M, S):
            rows = slice(start, min(start + S, M))
            state = state[: rows.stop - start]
            symbols = symbols_of(rows, self.grid.take(state))
            state = after.take((symbols & 1) + 2 * state)

    def round_lanes(self, targets: Values) -> Values:
        """Values (T, L) of the best path through targets (T, L), lane by lane, both float32."""
        values = _candidates(targets)
        chosen = self._viterbi(np.square(values - targets[:, None]))
        return np.take_along_axis(values, chosen[:, None], 1)[:, 0]

    def _viterbi(self, costs: Values) -> NDArray[np.intp]:
        """The path of least total cost from state 0: the index (T, L) of one of four candidates (T, 4, L) per step."""
        T, _, L = costs.shape
        total = np.full((self.states, L), 1e30, dtype=np.float32)
        total[0] = 0
        first, second, cost = np.empty_like(total), np.empty_like(total), np.empty_like(total)
        back = np.empty((T, self.states, L), dtype=np.bool_)
        moves = list(zip((first, second), self._before, self._candidate, strict=True))
        for t in range(T):
            now = costs[t]
            for path, before, candidate in moves:  # methods with `out` are ten times as fast here as numpy's functions
                total.take(before, 0, path, "clip")
                now.take(candidate, 0, cost, "clip")
                np.add(path, cost, out=path)
            np.less(second, first, out=back[t])
            np.minimum(first, second, out=total)
        return self._trace(back.reshape(T, -1), total.argmin(0))

    def _trace(self, back: NDArray[np.bool_], state: NDArray[np.intp]) -> NDArray[np.intp]:
        """Backtrack from `state` (L,) through the decisions `back` (T, states · L): the path's candidates (T, L)."""
        T, L = len(back), len(state)
        lane, place = np.arange(L), np.empty(L, dtype=np.intp)
        arrows, before = np.empty((T, L), dtype=np.intp), self._before.reshape(-1)
        for t in range(T - 1, -1, -1):
            np.multiply(state, L, out=place)
            np.add(place, lane, out=place)
            np.multiply(back[t].take(place), self.states, out=arrows[t])
            np.add(arrows[t], state, out=arrows[t])
            before.take(arrows[t], 0, state, "clip")
        return self._candidate.reshape(-1)[arrows]


@cache
def of(states: int) -> Trellis:
    """The cached Trellis of `states` states."""
    return Trellis(states)


def side_by_side(sizes: Sequence[int]) -> NDArray[np.intp]:
    """For concatenated columns of matrices of `sizes` rows: the index of the entry at each step of each lane, (T, L).

    Places beyond a matrix's end hold Σ sizes, the index of a zero appended to the column.
    """
    ends = np.cumsum(sizes)
    steps = [fold(np.arange(end - M, end)) for M, end in zip(sizes, ends, strict=True)]
    found = np.full((max(map(len, steps)), sum(each.shape[1] for each in steps)), ends[-1], dtype=np.intp)
    lane = 0
    for M, each in zip(sizes, steps, strict=True):
        filled = np.arange(each.size).reshape(each.shape) < M
        found[: len(each), lane : lane + each.shape[1]] = np.where(filled, each, ends[-1])
        lane += each.shape[1]
    return found


def lanes(M: int) -> int:
    """Number of lanes that a column of M rows is divided into."""
    return max(1, -(-M // SEGMENT))


def fold(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows (M, ...) as steps of lanes (T, S · ...), padded with zeros, which add no cost to a path."""
    M, S = len(rows), lanes(len(rows))
    T = -(-M // S)
    flat = np.ascontiguousarray(rows).reshape(M, -1)
    if T * S > M:
        flat = np.concatenate((flat, np.zeros((T * S - M, flat.shape[1]), dtype=flat.dtype)))
    return flat.reshape(T, -1)


def symbols_of(values: Values) -> Symbols:
    """Symbols (...) int32 of values (...) on either grid; raises OverflowError beyond MAX_SYMBOL."""
    if values.size and float(np.abs(values).max()) > MAX_SYMBOL:
        raise OverflowError("step too small for the values")
    return np.copysign(np.ceil(np.abs(values) / 2), values).astype(np.int32)


def on_grids(symbols: Symbols, grids: NDArray[np.uint8]) -> Values:
    """Values v of symbols k: 2 k on grid 0, 2 k - sign k on grid 1."""
    doubled = np.float32(2) * symbols.astype(np.float32)  # exact up to MAX_SYMBOL, and no overflow beyond
    return doubled - grids * np.sign(doubled)


def _code(states: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The grid of each state (states,), and the next state by the symbol's parity (states, 2).

    The systematic feedback encoder of the parity checks: Σ h0_i z0(n-i) ⊕ h1_i z1(n-i) = 0 with z0 the grid and z1 the
    parity, its memory w_1 ... w_v being the bits of a state.
    """
    h0, h1 = PARITY_CHECKS[states]
    v = states.bit_length() - 1
    grid, after = np.zeros(states, dtype=np.uint8), np.zeros((states, 2), dtype=np.uint8)
    for state in range(states):
        memory = [state >> i & 1 for i in range(v)]
        z0 = grid[state] = memory[-1]
        for z1 in (0, 1):
            shifted = [memory[i - 1] ^ ((h0 >> i) & z0) & 1 ^ ((h1 >> i) & z1) & 1 for i in range(1, v)]
            after[state, z1] = sum(bit << i for i, bit in enumerate([z0, *shifted]))
    return grid, after


def _candidates(targets: Values) -> Values:
    """Values (T, 4, L) nearest to targets (T, L), for each grid (0, 0, 1, 1) and parity of the symbol (0, 1, 0, 1)."""
    T, L = targets.shape
    values = np.empty((T, 4, L), dtype=np.float32)
    quarter = targets * np.float32(0.25)
    for parity in (0, 1):  # v = 4 m + 2 parity
        values[:, parity] = 4 * np.rint(quarter - np.float32(0.5 * parity)) + np.float32(2 * parity)
    size, sign = np.abs(quarter), np.copysign(np.float32(1), targets)
    # |v| = 0, 3, 7, ... of even symbols: 0 is nearest below 1.5
    even = (4 * np.rint(size + np.float32(0.25)) - 1) * (size >= np.float32(0.375))
    # |v| = 1, 5, 9, ... of odd ones
    odd = 4 * np.rint(np.maximum(size - np.float32(0.25), 0)) + np.float32(1)
    values[:, 2], values[:, 3] = even * sign, odd * sign
    return values
