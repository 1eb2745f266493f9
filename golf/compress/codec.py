"""One matrix there and back: weights → symbols → payloads, and payloads → weights.

`encode_matrix` owns the order of things: factors are quantized first, decoded, and the residual is what their DECODED
product leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress import entropy
from golf.compress.factorize import (
    Factors,
    LowRank,
    Spectrum,
    choose_rank,
    factorize,
    no_factors,
    reconstruct,
    spectrum,
)
from golf.compress.quantize import Steps, Symbols, dequantize, quantize, to_codes
from golf.compress.sensitivity import Sensitivity
from golf.errors import DamagedFile

Weights = NDArray[np.float32]
# codec, decoded size, payload
Payload = tuple[str, int, bytes]


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the global step: a matrix in scaled coordinates, its steps and its spectrum."""

    name: str
    scaled: Weights
    steps: Steps
    base: float
    sensitivity: Sensitivity
    spectrum: Spectrum | None


@dataclass(frozen=True)
class Coded:
    """A matrix as integers. `step` is the tensor's own; a missing `residual` means all zeros."""

    name: str
    shape: tuple[int, int]
    step: float
    steps: Steps
    factors: Factors
    residual: Symbols | None


def prepare_matrix(name: str, weights: Weights, sensitivity: Sensitivity, *, low_rank: LowRank) -> Prepared:
    """Scale a matrix (M, N) by its relative steps 1 / √F_ij, separable and rounded to their codes."""
    row_base, rows = to_codes(1 / np.sqrt(sensitivity.rows))
    column_base, columns = to_codes(1 / np.sqrt(sensitivity.columns))
    steps, base = Steps(rows, columns), row_base * column_base
    scaled = (weights / (steps.relative() * np.float32(base))).astype(np.float32)
    return Prepared(name, scaled, steps, base, sensitivity, None if low_rank == "off" else spectrum(scaled))


def code_matrix(given: Prepared, scale: float, *, low_rank: LowRank) -> Coded:
    """Integers of a prepared matrix at the global step `scale`: F-weighted error of at most scale² / 4 a weight."""
    factors = _factors(given, scale, low_rank)
    residual = None
    if low_rank != "only":
        target = given.scaled / np.float32(scale)
        residual = quantize(target - reconstruct(factors) if factors.rank else target)
        residual = residual if residual.any() else None
    return Coded(given.name, _shape(given.scaled), given.base * scale, given.steps, factors, residual)


def distortion(given: Prepared, coded: Coded, scale: float) -> float:
    """Predicted loss increase, nats per token: ½ Σ F_ij (Ŵ - W)² under the separable F the steps were made from."""
    error = _unscaled(coded) * np.float32(scale) - given.scaled
    exact = np.outer(given.sensitivity.rows, given.sensitivity.columns)
    in_weights = error.astype(np.float64) * given.steps.relative() * given.base
    return float(0.5 * (exact * in_weights**2).sum())


def pack_matrix(coded: Coded, *, coder: entropy.Coder) -> dict[str, Payload]:
    """The sections of one matrix: scales, then left and right where the rank is not 0, then a residual unless zero."""
    codes = np.concatenate((coded.steps.rows, coded.steps.columns, coded.factors.codes))
    sections = {"scales": entropy.encode(codes.astype(np.int32), coder=coder)}
    if coded.factors.rank:
        sections["left"] = entropy.encode(coded.factors.left, coder=coder)
        sections["right"] = entropy.encode(coded.factors.right, coder=coder)
    if coded.residual is not None:
        sections["residual"] = entropy.encode(coded.residual, coder=coder)
    return sections


def unpack_matrix(
    name: str,
    shape: tuple[int, int],
    rank: int,
    *,
    step: float,
    factor_step: float,
    sections: dict[str, Payload],
) -> Coded:
    """Inverse of `pack_matrix`; raises DamagedFile naming the section that cannot be decoded."""
    M, N = shape

    def symbols(part: str, count: int) -> Symbols:
        if part not in sections:
            raise DamagedFile(f"section {name}/{part}", "is missing")
        codec, size, payload = sections[part]
        return entropy.decode(codec, payload, count=count, decoded_size=size, part=f"section {name}/{part}")

    codes = symbols("scales", M + N + rank)
    if codes.min() < 0 or codes.max() > 255:
        raise DamagedFile(f"section {name}/scales", "a scale code is not a byte")
    rows, columns, terms = np.split(codes.astype(np.uint8), [M, M + N])
    left = symbols("left", M * rank).reshape(M, rank) if rank else np.empty((M, 0), dtype=np.int32)
    right = symbols("right", rank * N).reshape(rank, N) if rank else np.empty((0, N), dtype=np.int32)
    residual = symbols("residual", M * N).reshape(M, N) if "residual" in sections else None
    return Coded(name, shape, step, Steps(rows, columns), Factors(left, right, factor_step, terms), residual)


def decode_matrix(coded: Coded) -> Weights:
    """Weights (M, N) float32 of integers: (left · right + residual) · steps."""
    return (_unscaled(coded) * coded.steps.relative() * np.float32(coded.step)).astype(np.float32)


def update_digest(coded: Coded, update: Callable[[bytes], object]) -> None:
    """Feed every decoded integer of a matrix to a digest, independent of codec and library versions."""
    for codes in (coded.steps.rows, coded.steps.columns, coded.factors.codes):
        update(codes.tobytes())
    for symbols in (coded.factors.left, coded.factors.right, coded.residual):
        update(b"" if symbols is None else np.ascontiguousarray(symbols, dtype="<i4").tobytes())


def _factors(given: Prepared, scale: float, low_rank: LowRank) -> Factors:
    """Quantized factors of the rank that pays at this step."""
    M, N = _shape(given.scaled)
    if given.spectrum is None:
        return no_factors(M, N)
    rank = choose_rank(given.spectrum.values / np.float32(scale), (M, N), low_rank)
    return factorize(given.spectrum, scale, rank, low_rank)


def _unscaled(coded: Coded) -> Weights:
    """The decoded matrix in units of its steps."""
    product = reconstruct(coded.factors) if coded.factors.rank else np.zeros(coded.shape, dtype=np.float32)
    return product if coded.residual is None else product + dequantize(coded.residual)


def _shape(matrix: Weights) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]
