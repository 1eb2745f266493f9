"""Matrices there and back: weights → symbols → payloads, and payloads → weights.

`code_matrix` owns the order of things: factors are quantized first, decoded, and the residual is what their DECODED
product leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from golf.artifact import compress_zstd
from golf.compress import entropy
from golf.compress.conditional import Histogram, Tables, fits, residual_classes, scale_classes
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
from golf.compress.feedback import feedback, round_columns
from golf.compress.quantize import STEPS_PER_OCTAVE, Steps, Symbols, dequantize, from_codes, quantize, to_codes
from golf.compress.sensitivity import Sensitivity
from golf.errors import DamagedFile

Weights = NDArray[np.float32]
# codec, decoded size, payload
Payload = tuple[str, int, bytes]

CONDITIONAL = "conditional"
# The section that holds the tables of all conditionally coded ones.
TABLES = "tables"
_LEVEL = 19
# No spread of float32 weights is further from its step.
_MOST_SPREAD = 1 << 12


@dataclass(frozen=True)
class Tuned:
    """What tuning found at the step `scale`: the residual's targets (M, N) in scaled coordinates, and fixed factors."""

    targets: Weights
    factors: Factors
    scale: float


@dataclass(frozen=True)
class Prepared:
    """What does not depend on the global step: a matrix in scaled coordinates, its steps, feedback and spectrum."""

    name: str
    scaled: Weights
    steps: Steps
    base: float
    sensitivity: Sensitivity
    spread: Weights
    spectrum: Spectrum | None
    rank: int | None = None
    """the rank to use; None: whichever pays at the step"""
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Coded:
    """A matrix as integers. `step` is the tensor's own; a missing `residual` means all zeros.

    `spread` is the residual's rms over `step` as a step code: what its symbols' classes are reckoned from.
    """

    name: str
    shape: tuple[int, int]
    step: float
    steps: Steps
    factors: Factors
    residual: Symbols | None
    spread: int = 0


def prepare_matrix(name: str, weights: Weights, sensitivity: Sensitivity, *, low_rank: LowRank) -> Prepared:
    """Scale a matrix (M, N) by its relative steps 1 / (√g_i ℓ_j), separable and rounded to their codes."""
    back = feedback(sensitivity.metric)
    row_base, rows = to_codes(1 / np.sqrt(sensitivity.rows))
    column_base, columns = to_codes(1 / back.weights)
    steps, base = Steps(rows, columns), row_base * column_base
    scaled = (weights / (steps.relative() * np.float32(base))).astype(np.float32)
    column_steps = from_codes(columns)
    terms = None
    if low_rank != "off":
        row_weights = np.sqrt(sensitivity.rows) * row_base * from_codes(rows)
        terms = spectrum(scaled, row_weights, column_base * column_steps, sensitivity.metric)
    return Prepared(name, scaled, steps, base, sensitivity, back.scaled(column_steps), terms)


def code_matrix(given: Prepared, scale: float, *, low_rank: LowRank) -> Coded:
    """Integers of a prepared matrix at the global step `scale`, which all of its weighted errors are in units of."""
    factors, targets = targets_at(given, scale, low_rank=low_rank)
    residual = None if targets is None else quantize(targets)
    if residual is None or not residual.any():
        return Coded(given.name, _shape(given.scaled), given.base * scale, given.steps, factors, None)
    spread = _spread(residual, given.steps)
    return Coded(given.name, _shape(given.scaled), given.base * scale, given.steps, factors, residual, spread)


def targets_at(given: Prepared, scale: float, *, low_rank: LowRank) -> tuple[Factors, Weights | None]:
    """Factors, and what the residual's symbols are rounded from, (M, N) in units of the steps; None without residual.

    The targets of an untuned matrix have the errors of the columns behind them fed back.
    """
    if (tuned := given.tuned) is not None:
        # the same product in units of another step
        factors = tuned.factors
        if factors.rank:
            factors = replace(factors, base=factors.base * math.sqrt(tuned.scale / scale))
        return factors, tuned.targets / np.float32(scale)
    factors = _factors(given, scale, low_rank)
    if low_rank == "only":
        return factors, None
    target = given.scaled / np.float32(scale)
    _, targets = round_columns(target - reconstruct(factors) if factors.rank else target, given.spread)
    return factors, targets


def distortion(given: Prepared, coded: Coded, scale: float) -> float:
    """Predicted loss increase, nats per token, under the Fisher matrix that the steps were made from."""
    error = _unscaled(coded) * np.float32(scale) - given.scaled
    return given.sensitivity.cost(error.astype(np.float64) * given.steps.relative() * given.base)


def pack_matrices(
    matrices: Sequence[Coded], *, coder: entropy.Coder
) -> tuple[Payload | None, list[dict[str, Payload]]]:
    """The tables that all matrices share, and the sections of each.

    A matrix has scales, then left and right where its rank is not 0, then a residual unless that is zero.
    """
    if coder == "zstd":
        return None, [_sections(matrix, None) for matrix in matrices]
    histogram = Histogram()
    for matrix in matrices:
        for symbols, classes in conditional_parts(matrix).values():
            if fits(symbols, classes):
                histogram.add(symbols, classes)
    content, tables = Tables.to_bytes(histogram), Tables.of(histogram)
    sections = [_sections(matrix, tables) for matrix in matrices]
    if not any(codec == CONDITIONAL for parts in sections for codec, _, _ in parts.values()):
        return None, sections
    return ("zstd", len(content), compress_zstd(content, _LEVEL)), sections


def unpack_matrix(
    name: str,
    shape: tuple[int, int],
    rank: int,
    *,
    step: float,
    factor_step: float,
    spread: int,
    sections: Mapping[str, Payload],
    tables: Tables | None,
) -> Coded:
    """Inverse of `pack_matrices` for one matrix; raises DamagedFile naming the section that cannot be decoded."""
    M, N = shape
    if abs(spread) > _MOST_SPREAD:
        raise DamagedFile("manifest", f"the spread of {name} is out of range")

    def symbols(part: str, count: int, classes: Callable[[], NDArray[np.uint8]] | None = None) -> Symbols:
        where = f"section {name}/{part}"
        if part not in sections:
            raise DamagedFile(where, "is missing")
        codec, size, payload = sections[part]
        if codec != CONDITIONAL:
            return entropy.decode(codec, payload, count=count, decoded_size=size, part=where)
        if classes is None or tables is None or size != 4 * count:
            raise DamagedFile(where, "cannot be coded conditionally")
        return tables.decode(payload, classes(), part=where)

    codes = symbols("scales", M + N + rank, lambda: scale_classes(M, N, rank))
    if codes.min() < 0 or codes.max() > 255:
        raise DamagedFile(f"section {name}/scales", "a scale code is not a byte")
    rows, columns, terms = np.split(codes.astype(np.uint8), [M, M + N])
    steps = Steps(rows, columns)
    left = symbols("left", M * rank).reshape(M, rank) if rank else np.empty((M, 0), dtype=np.int32)
    right = symbols("right", rank * N).reshape(rank, N) if rank else np.empty((0, N), dtype=np.int32)
    residual = None
    if "residual" in sections:
        residual = symbols("residual", M * N, lambda: residual_classes(steps, spread).reshape(-1)).reshape(M, N)
    return Coded(name, shape, step, steps, Factors(left, right, factor_step, terms), residual, spread)


def decode_matrix(coded: Coded) -> Weights:
    """Weights (M, N) float32 of integers: (left · right + residual) · steps."""
    weights = _unscaled(coded)
    weights *= coded.steps.relative()
    weights *= np.float32(coded.step)
    return weights


def update_digest(coded: Coded, update: Callable[[bytes], object]) -> None:
    """Feed every decoded integer of a matrix to a digest, independent of codec and library versions."""
    for codes in (coded.steps.rows, coded.steps.columns, coded.factors.codes):
        update(codes.tobytes())
    for symbols in (coded.factors.left, coded.factors.right, coded.residual):
        update(b"" if symbols is None else np.ascontiguousarray(symbols, dtype="<i4").tobytes())


def conditional_parts(matrix: Coded) -> dict[str, tuple[Symbols, NDArray[np.uint8]]]:
    """What is coded by class: the scales and the residual, flat, with the classes of their symbols."""
    codes = np.concatenate((matrix.steps.rows, matrix.steps.columns, matrix.factors.codes)).astype(np.int32)
    parts = {"scales": (codes, scale_classes(*matrix.shape, matrix.factors.rank))}
    if matrix.residual is not None:
        parts["residual"] = matrix.residual.reshape(-1), residual_classes(matrix.steps, matrix.spread).reshape(-1)
    return parts


def _sections(matrix: Coded, tables: Tables | None) -> dict[str, Payload]:
    """The sections of one matrix; with zstd alone where there are no tables."""
    coder: entropy.Coder = "zstd" if tables is None else "best"
    parts = conditional_parts(matrix)
    sections = {"scales": _section(*parts["scales"], tables)}
    if matrix.factors.rank:
        sections["left"] = entropy.encode(matrix.factors.left, coder=coder)
        sections["right"] = entropy.encode(matrix.factors.right, coder=coder)
    if "residual" in parts:
        sections["residual"] = _section(*parts["residual"], tables)
    return sections


def _section(symbols: Symbols, classes: NDArray[np.uint8], tables: Tables | None) -> Payload:
    """Symbols under the shared tables, or by zstd where there are none, or where a symbol is beyond them."""
    if tables is None or not fits(symbols, classes):
        return entropy.encode(symbols, coder="zstd")
    coded = tables.encode(symbols, classes)
    # Long runs of zeros are what zstd does better; it is slow, so it is asked only there.
    if len(coded) * 16 < symbols.size:
        other = entropy.encode(symbols, coder="zstd")
        if len(other[2]) < len(coded):
            return other
    return CONDITIONAL, symbols.size * 4, coded


def _factors(given: Prepared, scale: float, low_rank: LowRank) -> Factors:
    """Quantized factors of the rank that pays at this step."""
    if given.spectrum is None or low_rank == "off":
        return no_factors(*_shape(given.scaled))
    rank = choose_rank(given.spectrum, scale, low_rank) if given.rank is None else given.rank
    return factorize(given.spectrum, scale, rank, low_rank, spread=given.spread)


def _spread(residual: Symbols, steps: Steps) -> int:
    """The residual's rms over the tensor's step, as a step code."""
    mean = float(np.square(residual * steps.relative(), dtype=np.float64).mean())
    return round(0.5 * math.log2(mean) * STEPS_PER_OCTAVE)


def _unscaled(coded: Coded) -> Weights:
    """The decoded matrix in units of its steps; a new array."""
    if not coded.factors.rank:
        return np.zeros(coded.shape, dtype=np.float32) if coded.residual is None else dequantize(coded.residual)
    product = reconstruct(coded.factors)
    return product if coded.residual is None else product + dequantize(coded.residual)


def _shape(matrix: Weights) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]
