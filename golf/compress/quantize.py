"""Uniform quantization with one step per row and per column, stored as log-scale codes of a byte.

The step of weight (i, j) is  step · 2^((row_i + column_j) / STEPS_PER_OCTAVE),  separable, so that M + N bytes describe
M · N steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rounding a log-step to a quarter octave costs about (ln 2 / 4)² / 24 = .1 % of the rate-distortion optimum.
STEPS_PER_OCTAVE = 4
# 2^(0/4) ... 2^(3/4), the nearest float64.
_QUARTERS = np.array([1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429])
# Symbols up to here are exact in float32 and int32; a larger one needs a coarser step.
MAX_SYMBOL = (1 << 23) - 1

Symbols = NDArray[np.int32]


@dataclass(frozen=True)
class StepCodes:
    """Codes of the rows (M,) uint8 and columns (N,) uint8 of one matrix."""

    rows: NDArray[np.uint8]
    columns: NDArray[np.uint8]

    def relative(self) -> NDArray[np.float32]:
        """Step of every weight relative to the tensor's own, (M, N) float32, all at least 1."""
        return np.outer(from_codes(self.rows), from_codes(self.columns)).astype(np.float32)


def relative_steps(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> tuple[StepCodes, float, float]:
    """Steps 1 / (√g_i ℓ_j) of Fisher rows g (M,) and column weights ℓ (N,), and the bases of rows and columns."""
    row_base, row_codes = to_codes(1 / np.sqrt(rows))
    column_base, column_codes = to_codes(1 / columns)
    return StepCodes(row_codes, column_codes), row_base, column_base


def to_codes(relative_steps: NDArray[np.float64]) -> tuple[float, NDArray[np.uint8]]:
    """Positive steps (n,) → (base, codes): step ≈ base · 2^(code / STEPS_PER_OCTAVE); 63 octaves of range."""
    octaves = np.log2(relative_steps)
    codes = np.rint((octaves - octaves.min()) * STEPS_PER_OCTAVE)
    return float(2.0 ** octaves.min()), np.minimum(codes, 255).astype(np.uint8)


def from_codes(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Inverse of `to_codes` up to the base: 2^(codes / 4), the same float64 on every CPU.

    A library's exp2 may differ in its last bit from one instruction set to another.
    """
    octaves, quarters = np.divmod(codes.astype(np.int64), STEPS_PER_OCTAVE)
    return np.ldexp(_QUARTERS[quarters], octaves.astype(np.int32))


def quantize(values: NDArray[np.float32]) -> Symbols:
    """Values in units of their step → nearest integers, int32; raises OverflowError beyond MAX_SYMBOL."""
    rounded = np.rint(values)
    if rounded.size and float(np.abs(rounded).max()) > MAX_SYMBOL:
        raise OverflowError("step too small for the values")
    return rounded.astype(np.int32)


def dequantize(symbols: Symbols) -> NDArray[np.float32]:
    """Inverse of `quantize` to within half a step."""
    return symbols.astype(np.float32)
