"""The standard deviations of a matrix's residual symbols: one code for the whole, one for each row and column.

A symbol at (i, j) has a standard deviation of about 2^((whole + rows_i + columns_j) / STEPS_PER_OCTAVE) of the tensor's
own step, before the steps of its row and column are taken off. `golf.compress.context_coder` codes it under that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress.quantize import STEPS_PER_OCTAVE, StepCodes, Symbols, from_codes

# Codes of rows and columns lie within ± this: 6 octaves away from the whole, zeros are nearly all there is.
MOST_OFFSET = 24
# Alternations between rows and columns; more moved no code of the quickstart.
_ROUNDS = 3

Codes = NDArray[np.int8]


@dataclass(frozen=True)
class ContextScales:
    """Codes of a whole matrix, of its rows (M,) int8 and its columns (N,) int8, in step codes."""

    whole: int
    rows: Codes
    columns: Codes

    @classmethod
    def even(cls, whole: int, shape: tuple[int, int]) -> ContextScales:
        """The same everywhere."""
        return cls(whole, np.zeros(shape[0], dtype=np.int8), np.zeros(shape[1], dtype=np.int8))

    def levels(self, steps: StepCodes) -> NDArray[np.int16]:
        """log2 of each symbol's deviation in its own steps, (M, N) in step codes."""
        rows = self.whole + self.rows.astype(np.int16) - steps.rows
        return rows[:, None] + (self.columns.astype(np.int16) - steps.columns)[None, :]

    def variances(self) -> NDArray[np.float32]:
        """Of every weight, relative to one another, (M, N) float32."""
        rows, columns = (from_codes(codes.astype(np.int64)) ** 2 for codes in (self.rows, self.columns))
        return np.outer(rows, columns).astype(np.float32)


def whole_scale(residual: Symbols, steps: StepCodes) -> int:
    """The symbols' rms over the tensor's step, as a step code."""
    mean = float(np.square(residual * steps.relative(), dtype=np.float64).mean())
    return round(0.5 * math.log2(mean) * STEPS_PER_OCTAVE)


def offsets(weights: NDArray[np.float32]) -> tuple[Codes, Codes]:
    """Codes of rows and columns by which weights (M, N) have one variance: of the separable variance that fits best.

    Maximum likelihood for Gaussian weights: rows and columns in turn get the mean of what the others leave.
    """
    squares = np.square(weights, dtype=np.float64)
    if not (mean := float(squares.mean())):
        return np.zeros(len(weights), dtype=np.int8), np.zeros(weights.shape[1], dtype=np.int8)
    squares /= mean
    columns = np.ones(squares.shape[1])
    for _ in range(_ROUNDS):
        rows = _bounded((squares / columns).mean(1))
        columns = _bounded((squares / rows[:, None]).mean(0))
    return _codes(rows), _codes(columns)


def _bounded(variances: NDArray[np.float64]) -> NDArray[np.float64]:
    most = 4.0 ** (MOST_OFFSET / STEPS_PER_OCTAVE)
    return np.clip(variances, 1 / most, most)


def _codes(variances: NDArray[np.float64]) -> Codes:
    return np.rint(0.5 * STEPS_PER_OCTAVE * np.log2(variances)).astype(np.int8)
