"""Which spreads of rows and columns make a file shortest: those under which the real symbols have the shortest codes.

Codes of rows and columns cost bits of their own, so each becomes the one with the least sum of both, given all other
symbols of the model and all other codes (expectation-maximisation with hard assignments, from what the weights say).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from golf.compress import trellis
from golf.compress.context_coder import CLASSES, SECOND_GRID, classes_of
from golf.compress.context_scales import MOST_OFFSET, Codes, Spread
from golf.compress.decode_matrix import Coded
from golf.runtime.parallel import in_order

# Rounds over rows and columns, and how far a code moves in one; a third gains .1 % (docs/log.md, 2026-11-25).
_ROUNDS = 2
_MOVES = (-2, -1, 0, 1, 2)
# A matrix with a symbol further out than this keeps the weights' own spreads: a histogram holds no more.
_MOST = 255
# What a class may come to hold that it never held: this share of its neighbours' counts, and of a count. Chosen once.
_BORROWED, _LEAST = 0.02, 1e-3
# Of the section `tables`: a record's head, and an entry, of which zstd leaves .6 bytes in artifacts of .6 M weights.
_RECORD_BITS, _ENTRY_BITS = 40, 5

Counts = NDArray[np.int64]
Spreads = Mapping[str, Spread]


def refined(matrices: Sequence[Coded], poll: Callable[[], None] = lambda: None) -> list[Coded]:
    """The same symbols with the spreads that take fewest bits, their codes and tables included; even ones if none pay.

    `poll` is called now and then and may raise to stop.
    """
    model = Costs([each for each in matrices if _widest(each) <= _MOST])
    even = {each.name: Spread.even(each.spread.whole, each.shape) for each in model.matrices}
    spreads: Spreads = {each.name: each.spread for each in model.matrices}
    for _ in range(_ROUNDS):
        for axis in (0, 1):
            poll()
            spreads = model.moved(spreads, axis)
    best = min((even, spreads), key=model.bits)
    return [replace(each, spread=best.get(each.name, each.spread)) for each in matrices]


class Costs:
    """The residual symbols of some matrices, and what they cost under given spreads."""

    def __init__(self, matrices: Sequence[Coded]) -> None:
        """Matrices with a residual each."""
        self.matrices = matrices
        self.most = int(max(map(_widest, matrices), default=0))
        """no symbol is further out"""
        self._width = 2 * self.most + 1
        # where the cells of a level's class begin, by the level's 16 bits
        levels = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
        self._start = classes_of(levels).astype(np.int32) * self._width
        self._parts = dict(zip([each.name for each in matrices], in_order(self._part, matrices), strict=True))

    def moved(self, spreads: Spreads, axis: int) -> Spreads:
        """Spreads whose codes of one axis are the best ones near those that are given."""
        lengths, prices = code_lengths(self.counts(spreads)), code_lengths(offset_counts(spreads, axis))

        def moved(coded: Coded) -> Spread:
            spread = spreads[coded.name]
            codes = _of(spread, axis).astype(np.int64)
            candidates = codes + np.array(_MOVES)[:, None]
            cells = (self._cells(coded.name, spread, axis, move) for move in _MOVES)
            bits = np.stack([lengths.take(each).sum(1 - axis) for each in cells])
            bits += prices.take(candidates + MOST_OFFSET, mode="clip")
            bits[np.abs(candidates) > MOST_OFFSET] = np.inf
            best = candidates[bits.argmin(0), np.arange(len(codes))].astype(np.int8)
            return replace(spread, **{"columns" if axis else "rows": best})

        found = in_order(moved, self.matrices)
        return {coded.name: spread for coded, spread in zip(self.matrices, found, strict=True)}

    def bits(self, spreads: Spreads) -> float:
        """Bits of all symbols and of the codes of their spreads, and of the tables that a reader needs."""
        every = (self.counts(spreads), offset_counts(spreads, 0), offset_counts(spreads, 1))
        codes = sum(float((counts * code_lengths(counts)).sum()) for counts in every)
        held = [counts > 0 for counts in every]
        return codes + sum(_RECORD_BITS * int(each.any(1).sum()) + _ENTRY_BITS * int(each.sum()) for each in held)

    def counts(self, spreads: Spreads) -> Counts:
        """How often each symbol occurs in each class, (CLASSES, 2 most + 1)."""
        total = np.zeros(CLASSES * self._width, dtype=np.int64)

        def counted(coded: Coded) -> Counts:
            return np.bincount(self._cells(coded.name, spreads[coded.name]).reshape(-1), minlength=len(total))

        for counts in in_order(counted, self.matrices):
            total += counts
        return total.reshape(CLASSES, -1)

    def _part(self, coded: Coded) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        """Each symbol's place within the cells of its class (M, N), and its level under an even spread."""
        assert coded.residual is not None
        places = coded.residual + self.most
        if coded.states:
            places += SECOND_GRID * self._width * trellis.of(coded.states).grids(coded.residual).astype(np.int32)
        return places, Spread.even(coded.spread.whole, coded.shape).levels(coded.steps)

    def _cells(self, name: str, spread: Spread, axis: int = 0, move: int = 0) -> NDArray[np.int32]:
        """Where each symbol (M, N) is counted, with the codes of one axis moved."""
        places, levels = self._parts[name]
        rows, columns = (codes.astype(np.int16) for codes in (spread.rows, spread.columns))
        shifts = (rows + np.int16(0 if axis else move))[:, None] + (columns + np.int16(move if axis else 0))[None, :]
        cells: NDArray[np.int32] = self._start.take((levels + shifts).view(np.uint16))
        cells += places
        return cells


def offset_counts(spreads: Spreads, axis: int) -> Counts:
    """How often each code of one axis occurs in the whole model, (1, codes)."""
    every = np.concatenate([_of(each, axis) for each in spreads.values()] or [np.empty(0, dtype=np.int8)])
    return np.bincount(every.astype(np.int64) + MOST_OFFSET, minlength=2 * MOST_OFFSET + 1)[None]


def code_lengths(counts: Counts) -> NDArray[np.float32]:
    """Bits of each symbol by class (K, n), under what is counted and a little of what the classes beside hold."""
    likely = counts + _LEAST
    likely[1:] += _BORROWED * counts[:-1]
    likely[:-1] += _BORROWED * counts[1:]
    return -np.log2(likely / likely.sum(1, keepdims=True)).astype(np.float32)


def _of(spread: Spread, axis: int) -> Codes:
    return spread.columns if axis else spread.rows


def _widest(coded: Coded) -> float:
    """The largest symbol's size; endless without a residual."""
    return math.inf if coded.residual is None else int(np.abs(coded.residual).max())
