"""A matrix as integers: what an artifact holds of it, and the weights that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress import trellis
from golf.compress.context_scales import Spread
from golf.compress.low_rank import Factors, reconstruct
from golf.compress.quantize import Steps, Symbols, dequantize, quantize

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Coded:
    """A matrix as integers. `step` is the tensor's own; a missing `residual` means all zeros.

    `states` are those of the residual's trellis, 0 for plain integers. `spread` is what the classes of its symbols are
    reckoned from.
    """

    name: str
    shape: tuple[int, int]
    step: float
    steps: Steps
    factors: Factors
    residual: Symbols | None
    spread: Spread
    states: int = 0


def symbols_of(values: Weights, states: int) -> Symbols:
    """Residual symbols (M, N) of values (M, N) on a trellis's grids, or of integers where `states` is 0."""
    return trellis.symbols_of(values) if states else quantize(values)


def values_of(symbols: Symbols, states: int) -> Weights:
    """Inverse of `symbols_of`: values (M, N) float32 in units of the steps."""
    return trellis.of(states).values(symbols) if states else dequantize(symbols)


def unscaled(coded: Coded) -> Weights:
    """The decoded matrix in units of its steps; a new array."""
    if not coded.factors.rank:
        if coded.residual is None:
            return np.zeros(coded.shape, dtype=np.float32)
        return values_of(coded.residual, coded.states)
    product = reconstruct(coded.factors)
    return product if coded.residual is None else product + values_of(coded.residual, coded.states)


def decode_matrix(coded: Coded) -> Weights:
    """Weights (M, N) float32 of integers: (left · right + residual) · steps."""
    weights = unscaled(coded)
    weights *= coded.steps.relative()
    weights *= np.float32(coded.step)
    return weights


def update_digest(coded: Coded, update: Callable[[bytes], object]) -> None:
    """Feed every decoded integer of a matrix to a digest, independent of codec and library versions."""
    for codes in (coded.steps.rows, coded.steps.columns, coded.factors.codes):
        update(codes.tobytes())
    if coded.states:
        update(bytes([coded.states]))
    for symbols in (coded.factors.left, coded.factors.right, coded.residual):
        update(b"" if symbols is None else np.ascontiguousarray(symbols, dtype="<i4").tobytes())
