"""QuantizedMatrix, the integers that an artifact stores of a weight matrix, and their decoding to float32 weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress import trellis
from golf.compress.context_scales import ContextScales
from golf.compress.low_rank import Factors, reconstruct
from golf.compress.quantize import StepCodes, Symbols, dequantize, quantize

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix as integers. `step` is the value of one symbol unit before the step codes.

    A `residual` of None means all zeros. `states` is the number of states of the residual's trellis, 0 for uniform
    quantization; `context_scales` give the symbols' classes.
    """

    name: str
    shape: tuple[int, int]
    step: float
    steps: StepCodes
    factors: Factors
    residual: Symbols | None
    context_scales: ContextScales
    states: int = 0


def symbols_of(values: Weights, states: int) -> Symbols:
    """Residual symbols (M, N) int32 of values (M, N) on a trellis's grids, or on the integers where `states` is 0."""
    return trellis.symbols_of(values) if states else quantize(values)


def values_of(symbols: Symbols, states: int) -> Weights:
    """Inverse of `symbols_of`: values (M, N) float32 in units of the steps."""
    return trellis.of(states).values(symbols) if states else dequantize(symbols)


def decode_unscaled(quantized: QuantizedMatrix) -> Weights:
    """The decoded matrix in units of its steps; a new array."""
    if not quantized.factors.rank:
        if quantized.residual is None:
            return np.zeros(quantized.shape, dtype=np.float32)
        return values_of(quantized.residual, quantized.states)
    product = reconstruct(quantized.factors)
    return product if quantized.residual is None else product + values_of(quantized.residual, quantized.states)


def decode_matrix(quantized: QuantizedMatrix) -> Weights:
    """Weights (M, N) float32 of integers: (left · right + residual) · steps."""
    weights = decode_unscaled(quantized)
    weights *= quantized.steps.relative()
    weights *= np.float32(quantized.step)
    return weights


def update_digest(quantized: QuantizedMatrix, update: Callable[[bytes], object]) -> None:
    """Feed every decoded integer of a matrix to a digest, independent of codec and library versions."""
    for codes in (quantized.steps.rows, quantized.steps.columns, quantized.factors.codes):
        update(codes.tobytes())
    if quantized.states:
        update(bytes([quantized.states]))
    for symbols in (quantized.factors.left, quantized.factors.right, quantized.residual):
        update(b"" if symbols is None else np.ascontiguousarray(symbols, dtype="<i4").tobytes())
