"""Which spreads of rows and columns make a file shortest: those under which the real symbols have the shortest codes.

Codes of rows and columns cost bits of their own, so each becomes the one with the least sum of both, given all other
symbols of the model and all other codes (expectation-maximisation with hard assignments, from what the weights say).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from golf.compress import trellis
from golf.compress.conditional import CLASSES, SECOND_GRID, Classes, classes_of
from golf.compress.integers import Coded
from golf.compress.spread import MOST_OFFSET, Codes, Spread
from golf.parallel import in_order

# Rounds over rows and columns, and how far a code moves in one; a third gains .05 % (docs/log.md, 2026-11-25).
_ROUNDS = 2
_MOVES = (-2, -1, 0, 1, 2)
# A matrix with a symbol further out than this keeps the weights' own spreads: a histogram holds no more.
_MOST = 255
_WIDTH = 2 * _MOST + 1
# What a class may come to hold that it never held: this share of its neighbours' counts, and of a count. Chosen once.
_BORROWED, _LEAST = 0.02, 1e-3
# Of the section `tables`: a record's head, and an entry, of which zstd leaves .6 bytes in artifacts of .6 M weights.
_RECORD_BITS, _ENTRY_BITS = 40, 5

Counts = NDArray[np.int64]
Spreads = Mapping[str, Spread]


@dataclass(frozen=True)
class _Matrix:
    """Symbols (M, N) as places in a histogram, and what their classes are reckoned from."""

    name: str
    places: NDArray[np.int32]
    levels: NDArray[np.int16]
    grids: Classes | int

    @classmethod
    def of(cls, coded: Coded) -> _Matrix:
        """Of a matrix with a residual."""
        assert coded.residual is not None
        grids = SECOND_GRID * trellis.of(coded.states).grids(coded.residual) if coded.states else 0
        levels = Spread.even(coded.spread.whole, coded.shape).levels(coded.steps)
        return cls(coded.name, coded.residual + _MOST, levels, grids)

    def cells(self, spread: Spread, axis: int = 0, move: int = 0) -> NDArray[np.int32]:
        """Where each symbol is counted, with the codes of one axis moved: class times width and its place."""
        rows, columns = (codes.astype(np.int16) for codes in (spread.rows, spread.columns))
        shifts = (rows + move if axis == 0 else rows)[:, None] + (columns + move if axis else columns)[None, :]
        cells: NDArray[np.int32] = (classes_of(self.levels + shifts) + self.grids).astype(np.int32)
        cells *= _WIDTH
        cells += self.places
        return cells


def refined(matrices: Sequence[Coded], poll: Callable[[], None] = lambda: None) -> list[Coded]:
    """The same symbols with the spreads that take fewest bits, their codes and tables included; even ones if none pay.

    `poll` is called now and then and may raise to stop.
    """
    some = [each for each in matrices if each.residual is not None and np.abs(each.residual).max() <= _MOST]
    even = {each.name: Spread.even(each.spread.whole, each.shape) for each in some}
    spreads: Spreads = {each.name: each.spread for each in some}
    for _ in range(_ROUNDS):
        for axis in (0, 1):
            poll()
            spreads = _moved(some, spreads, axis)
    best = min((even, spreads), key=lambda each: _bits(some, each))
    return [replace(each, spread=best.get(each.name, each.spread)) for each in matrices]


def _moved(matrices: Sequence[Coded], spreads: Spreads, axis: int) -> Spreads:
    """Spreads whose codes of one axis are the best ones near those that are given."""
    lengths, prices = _lengths(_counts(matrices, spreads)), _lengths(_offset_counts(spreads, axis))

    def moved(coded: Coded) -> Spread:
        matrix, spread = _Matrix.of(coded), spreads[coded.name]
        codes = _of(spread, axis).astype(np.int64)
        candidates = codes + np.array(_MOVES)[:, None]
        bits = np.stack([lengths.take(matrix.cells(spread, axis, move)).sum(1 - axis) for move in _MOVES])
        bits += prices.take(candidates + MOST_OFFSET, mode="clip")
        bits[np.abs(candidates) > MOST_OFFSET] = np.inf
        best = candidates[bits.argmin(0), np.arange(len(codes))].astype(np.int8)
        return replace(spread, **{"columns" if axis else "rows": best})

    return {coded.name: spread for coded, spread in zip(matrices, in_order(moved, matrices), strict=True)}


def _bits(matrices: Sequence[Coded], spreads: Spreads) -> float:
    """Bits of all symbols and of the codes of their spreads, and of the tables that a reader needs."""
    every = (_counts(matrices, spreads), _offset_counts(spreads, 0), _offset_counts(spreads, 1))
    codes = sum(float((counts * _lengths(counts)).sum()) for counts in every)
    held = [counts > 0 for counts in every]
    return codes + sum(_RECORD_BITS * int(each.any(1).sum()) + _ENTRY_BITS * int(each.sum()) for each in held)


def _counts(matrices: Sequence[Coded], spreads: Spreads) -> Counts:
    """How often each symbol occurs in each class, (CLASSES, _WIDTH)."""

    def counted(coded: Coded) -> Counts:
        cells = _Matrix.of(coded).cells(spreads[coded.name])
        return np.bincount(cells.reshape(-1), minlength=CLASSES * _WIDTH)

    total = np.zeros(CLASSES * _WIDTH, dtype=np.int64)
    for counts in in_order(counted, matrices):
        total += counts
    return total.reshape(CLASSES, _WIDTH)


def _offset_counts(spreads: Spreads, axis: int) -> Counts:
    """How often each code of one axis occurs in the whole model, (1, codes)."""
    every = np.concatenate([_of(each, axis) for each in spreads.values()] or [np.empty(0, dtype=np.int8)])
    return np.bincount(every.astype(np.int64) + MOST_OFFSET, minlength=2 * MOST_OFFSET + 1)[None]


def _lengths(counts: Counts) -> NDArray[np.float32]:
    """Bits of each symbol by class (K, n), under what is counted and a little of what the classes beside hold."""
    likely = counts + _LEAST
    likely[1:] += _BORROWED * counts[:-1]
    likely[:-1] += _BORROWED * counts[1:]
    return -np.log2(likely / likely.sum(1, keepdims=True)).astype(np.float32)


def _of(spread: Spread, axis: int) -> Codes:
    return spread.columns if axis else spread.rows
