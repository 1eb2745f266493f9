"""Context scales: codes of the standard deviations of a matrix's residual symbols, the context of the entropy coder.

There is one code for the whole matrix, one for each row and one for each column. A symbol at (i, j), times the relative
steps of its row and column, has a standard deviation of about 2^((whole + rows_i + columns_j) / STEPS_PER_OCTAVE).
`golf.compress.context_coder` turns it into the symbol's class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress.quantize import STEPS_PER_OCTAVE, StepCodes, Symbols, from_codes

# Codes of rows and columns lie within ± this: 6 octaves below the whole matrix, nearly all symbols are zero.
MOST_OFFSET = 24
# Alternations between rows and columns; more changed no code of the quickstart.
_ROUNDS = 3

Codes = NDArray[np.int8]


@dataclass(frozen=True)
class ContextScales:
    """Codes of a whole matrix, of its rows (M,) int8 and of its columns (N,) int8, in quarter octaves."""

    whole: int
    rows: Codes
    columns: Codes

    @classmethod
    def even(cls, whole: int, shape: tuple[int, int]) -> ContextScales:
        """Context scales of a matrix (M, N) whose rows and columns all have code 0."""
        return cls(whole, np.zeros(shape[0], dtype=np.int8), np.zeros(shape[1], dtype=np.int8))

    def levels(self, steps: StepCodes) -> NDArray[np.int16]:
        """log2 of each symbol's standard deviation in units of its own step, (M, N) in quarter octaves."""
        rows = self.whole + self.rows.astype(np.int16) - steps.rows
        return rows[:, None] + (self.columns.astype(np.int16) - steps.columns)[None, :]

    def variances(self) -> NDArray[np.float32]:
        """Variance of every weight relative to code 0, (M, N) float32."""
        rows, columns = (from_codes(codes.astype(np.int64)) ** 2 for codes in (self.rows, self.columns))
        return np.outer(rows, columns).astype(np.float32)


def whole_scale(residual: Symbols, steps: StepCodes) -> int:
    """The rms of the symbols times their relative steps, as a code in quarter octaves."""
    mean = float(np.square(residual * steps.relative(), dtype=np.float64).mean())
    return round(0.5 * math.log2(mean) * STEPS_PER_OCTAVE)


def offsets(weights: NDArray[np.float32]) -> tuple[Codes, Codes]:
    """Codes of rows (M,) and columns (N,) of the separable variance that fits weights (M, N) best.

    Maximum likelihood for Gaussian weights: rows and columns in turn get the mean square of the weights scaled by the
    other axis.
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
