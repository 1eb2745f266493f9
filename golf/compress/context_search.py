"""Choose the context scales that give the shortest code of the real symbols and of the scales themselves.

Each code of a row or column becomes the one with the least sum of both code lengths, given all other symbols of the
model and all other codes (hard expectation-maximization, initialized by the weights' own context scales).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from golf.compress import trellis
from golf.compress.context_coder import CLASSES, SECOND_GRID, classes_of
from golf.compress.context_scales import MOST_OFFSET, Codes, ContextScales
from golf.compress.decode_matrix import QuantizedMatrix
from golf.runtime.parallel import parallel_map

# Rounds over rows and columns, and a code's moves in one; a third round gains .1 % (docs/log.md, 2026-11-25).
_ROUNDS = 2
_MOVES = (-2, -1, 0, 1, 2)
# A matrix with a symbol larger than this keeps the context scales of its weights: the histograms here hold no more.
_MOST = 255
# Smoothing of a class's counts: this share of its neighbouring classes' counts, and this many counts. Not optimized.
_BORROWED, _LEAST = 0.02, 1e-3
# Bits in the section `tables`: of a record's head, and of an entry (.6 bytes after zstd in artifacts of .6 M weights).
_RECORD_BITS, _ENTRY_BITS = 40, 5

Counts = NDArray[np.int64]
ScalesByName = Mapping[str, ContextScales]


def search_context_scales(
    matrices: Sequence[QuantizedMatrix], poll: Callable[[], None] = lambda: None
) -> list[QuantizedMatrix]:
    """The same symbols with the context scales that take fewest bits, their codes and tables included.

    Rows and columns keep code 0 where other codes save nothing. `poll` is called now and then and may raise to stop.
    """
    model = Costs([each for each in matrices if _widest(each) <= _MOST])
    even = {each.name: ContextScales.even(each.context_scales.whole, each.shape) for each in model.matrices}
    scales_by_name: ScalesByName = {each.name: each.context_scales for each in model.matrices}
    for _ in range(_ROUNDS):
        for axis in (0, 1):
            poll()
            scales_by_name = model.moved(scales_by_name, axis)
    best = min((even, scales_by_name), key=model.bits)
    return [replace(each, context_scales=best.get(each.name, each.context_scales)) for each in matrices]


class Costs:
    """The residual symbols of some matrices, and their code length in bits under given context scales."""

    def __init__(self, matrices: Sequence[QuantizedMatrix]) -> None:
        """Every matrix must have a residual."""
        self.matrices = matrices
        self.most = int(max(map(_widest, matrices), default=0))
        """The largest absolute value of a symbol."""
        self._width = 2 * self.most + 1
        # index of the first count of a level's class, by the level's 16 bits
        levels = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
        self._start = classes_of(levels).astype(np.int32) * self._width
        self._parts = dict(zip([each.name for each in matrices], parallel_map(self._part, matrices), strict=True))

    def moved(self, scales_by_name: ScalesByName, axis: int) -> ScalesByName:
        """Context scales whose codes of one axis (0 rows, 1 columns) are the best ones near the given codes."""
        lengths, prices = code_lengths(self.counts(scales_by_name)), code_lengths(offset_counts(scales_by_name, axis))

        def moved(quantized: QuantizedMatrix) -> ContextScales:
            scales = scales_by_name[quantized.name]
            codes = _of(scales, axis).astype(np.int64)
            candidates = codes + np.array(_MOVES)[:, None]
            cells = (self._cells(quantized.name, scales, axis, move) for move in _MOVES)
            bits = np.stack([lengths.take(each).sum(1 - axis) for each in cells])
            bits += prices.take(candidates + MOST_OFFSET, mode="clip")
            bits[np.abs(candidates) > MOST_OFFSET] = np.inf
            best = candidates[bits.argmin(0), np.arange(len(codes))].astype(np.int8)
            return replace(scales, **{"columns" if axis else "rows": best})

        found = parallel_map(moved, self.matrices)
        return {quantized.name: scales for quantized, scales in zip(self.matrices, found, strict=True)}

    def bits(self, scales_by_name: ScalesByName) -> float:
        """Bits of all symbols and of the codes of their scales, and of the tables that a reader needs."""
        every = (self.counts(scales_by_name), offset_counts(scales_by_name, 0), offset_counts(scales_by_name, 1))
        codes = sum(float((counts * code_lengths(counts)).sum()) for counts in every)
        held = [counts > 0 for counts in every]
        return codes + sum(_RECORD_BITS * int(each.any(1).sum()) + _ENTRY_BITS * int(each.sum()) for each in held)

    def counts(self, scales_by_name: ScalesByName) -> Counts:
        """How often each symbol occurs in each class, (CLASSES, 2 most + 1)."""
        total = np.zeros(CLASSES * self._width, dtype=np.int64)

        def counted(quantized: QuantizedMatrix) -> Counts:
            return np.bincount(
                self._cells(quantized.name, scales_by_name[quantized.name]).reshape(-1), minlength=len(total)
            )

        for counts in parallel_map(counted, self.matrices):
            total += counts
        return total.reshape(CLASSES, -1)

    def _part(self, quantized: QuantizedMatrix) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        """Each symbol's offset within the counts of its class (M, N), and its level under even scales (M, N)."""
        assert quantized.residual is not None
        places = quantized.residual + self.most
        if quantized.states:
            places += (
                SECOND_GRID * self._width * trellis.of(quantized.states).grids(quantized.residual).astype(np.int32)
            )
        return places, ContextScales.even(quantized.context_scales.whole, quantized.shape).levels(quantized.steps)

    def _cells(self, name: str, scales: ContextScales, axis: int = 0, move: int = 0) -> NDArray[np.int32]:
        """The flat index into the counts of each symbol (M, N), with the codes of one axis moved."""
        places, levels = self._parts[name]
        rows, columns = (codes.astype(np.int16) for codes in (scales.rows, scales.columns))
        shifts = (rows + np.int16(0 if axis else move))[:, None] + (columns + np.int16(move if axis else 0))[None, :]
        cells: NDArray[np.int32] = self._start.take((levels + shifts).view(np.uint16))
        cells += places
        return cells


def offset_counts(scales_by_name: ScalesByName, axis: int) -> Counts:
    """How often each code of one axis occurs in the whole model, (1, codes)."""
    every = np.concatenate([_of(each, axis) for each in scales_by_name.values()] or [np.empty(0, dtype=np.int8)])
    return np.bincount(every.astype(np.int64) + MOST_OFFSET, minlength=2 * MOST_OFFSET + 1)[None]


def code_lengths(counts: Counts) -> NDArray[np.float32]:
    """Bits of each symbol by class (K, n), from counts smoothed by those of the neighbouring classes."""
    likely = counts + _LEAST
    likely[1:] += _BORROWED * counts[:-1]
    likely[:-1] += _BORROWED * counts[1:]
    return -np.log2(likely / likely.sum(1, keepdims=True)).astype(np.float32)


def _of(scales: ContextScales, axis: int) -> Codes:
    return scales.columns if axis else scales.rows


def _widest(quantized: QuantizedMatrix) -> float:
    """The largest absolute value of a symbol; infinite without a residual."""
    return math.inf if quantized.residual is None else int(np.abs(quantized.residual).max())
