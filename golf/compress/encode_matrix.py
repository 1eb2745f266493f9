"""Quantize weight matrices at a global step: scale, subtract low-rank factors, round with GPTQ error feedback.

`round_matrices` fixes the order: factors are quantized and decoded first, and the residual is the matrix minus their
DECODED product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from golf.compress import trellis
from golf.compress.context_scales import Codes, ContextScales, offsets, whole_scale
from golf.compress.decode_matrix import QuantizedMatrix, Weights, decode_unscaled, symbols_of
from golf.compress.fisher import Fisher
from golf.compress.gptq import error_feedback, round_columns, round_together
from golf.compress.low_rank import (
    Factors,
    LowRank,
    Spectrum,
    choose_rank,
    factorize,
    no_factors,
    reconstruct,
    spectrum,
)
from golf.compress.quantize import StepCodes, from_codes, relative_steps
from golf.compress.rate_search import least_scale

# Variance of a rounding error, uniform within one step.
ROUNDING = 1 / 12
# Ratios are clamped to these: at the smaller one targets are as large as they get, at the larger one every symbol is
# zero, and float32 still holds the factor.
_LEAST_RATIO, _MOST_RATIO = 0.05, 1e15

Array = TypeVar("Array", Weights, Tensor)


def shrinkage(variances: Array, ratio: float) -> Array:
    """What multiplies targets (M, N) so that rounding them saves the bits of a global step `ratio` times as large.

    The quantization step stays; only the rate-distortion λ changes, from that of c to that of `ratio` · c.
    Symbols s of `variances` v (M, N), in squared steps and at least ROUNDING, take s² / (2 v ln 2) bits. A bit costs
    λ = ln 2 c² / 12 (`rate_search.bit_price`), an error of e steps costs c² e² / 2. So for a target u, which c itself
    rounds to the nearest s,  c² (u - s)² / 2 + Δλ s² / (2 v ln 2)  is least at the s nearest to
    u / (1 + (ratio² - 1) / 12 v).
    """
    squared = max(_LEAST_RATIO, min(ratio, _MOST_RATIO)) ** 2
    return variances / (variances + ROUNDING * (squared - 1))


# Significant digits of a step, which a file spells: twelve more take five bytes a matrix, and the last of
# these changes at most .00014 bits a weight.
_DIGITS = 5


@dataclass(frozen=True)
class FineTunedTargets:
    """Result of fine-tuning: the residual's targets (M, N) in scaled coordinates, and factors, for one step `scale`.

    Another global step changes how targets are rounded, not the values of symbols, because the network was fine-tuned
    with those values (measured in docs/log.md).
    """

    targets: Weights
    variances: Weights
    """Of the symbols, (M, N) in squared steps, rounding errors included."""
    factors: Factors
    scale: float

    def at(self, scale: float) -> Weights:
        """Targets (M, N) in units of the step; a finer `scale` enlarges them, so that fewer round to zero.

        Symbols that save the most bits for their error change first (`shrinkage`).
        """
        units = self.targets / np.float32(self.scale)
        return units if scale == self.scale else units * shrinkage(self.variances, scale / self.scale)


@dataclass(frozen=True)
class Rounding:
    """Factors, and the residual's targets and their rounded values, (M, N) in units of the steps.

    Without a residual both are None. Unless a matrix was fine-tuned, its targets include GPTQ error feedback.
    """

    factors: Factors
    targets: Weights | None
    values: Weights | None


@dataclass(frozen=True)
class CalibratedMatrix:
    """A matrix (M, N) in scaled coordinates with steps, Fisher information, error feedback and spectrum.

    Nothing here depends on the global step. `feedback` (N, N) is GPTQ's error feedback; `offsets` are context scales
    of rows (M,) and columns (N,), estimated from the weights.
    """

    name: str
    scaled: Weights
    steps: StepCodes
    base: float
    fisher: Fisher
    feedback: Weights
    offsets: tuple[Codes, Codes]
    spectrum: Callable[[], Spectrum]
    """The singular value decomposition for low-rank factors, computed at the first call."""
    rank: int | None = None
    """The rank to use; None: `choose_rank` decides at the step."""
    tuned: FineTunedTargets | None = None
    states: int = 0
    """Number of states of the trellis that residuals are quantized with; 0: uniform quantization."""

    def unit(self, scale: float) -> float:
        """The step of residual symbols in scaled coordinates at the global step `scale`."""
        return self.step(scale) / self.base

    def step(self, scale: float) -> float:
        """The step of the matrix's weights at the global step `scale`, a number of `_DIGITS` digits.

        With a trellis it is finer by the factor `trellis.GRAIN`, for the error of uniform rounding at `scale`. A
        fine-tuned matrix keeps the step that it was fine-tuned at.
        """
        unit = self.tuned.scale if self.tuned else scale * self._grain
        return float(f"{self.base * unit:.{_DIGITS - 1}e}")

    def least_scale(self) -> float:
        """The global step below which symbols could overflow, factors included."""
        least = least_scale(float(np.sqrt(np.square(self.scaled, dtype=np.float64).sum()))) / self._grain
        return least * (1 + 10.0 ** (1 - _DIGITS))  # a step may be rounded down

    @property
    def _grain(self) -> float:
        return trellis.GRAIN if self.states else 1.0


def calibrate_matrix(name: str, weights: Weights, fisher: Fisher, *, states: int = 0) -> CalibratedMatrix:
    """Scale a matrix (M, N) by its relative steps 1 / (√g_i ℓ_j), separable and rounded to their codes."""
    back = error_feedback(fisher.metric)
    steps, row_base, column_base = relative_steps(fisher.rows, back.weights)
    base = row_base * column_base
    scaled = (weights / (steps.relative() * np.float32(base))).astype(np.float32)
    column_steps = from_codes(steps.columns)
    row_weights = np.sqrt(fisher.rows) * row_base * from_codes(steps.rows)
    terms = cache(lambda: spectrum(scaled, row_weights, column_base * column_steps, fisher.metric))
    wide = offsets(weights)
    return CalibratedMatrix(name, scaled, steps, base, fisher, back.scaled(column_steps), wide, terms, states=states)


def group_by_width(matrices: Iterable[CalibratedMatrix]) -> list[list[CalibratedMatrix]]:
    """Group matrices that are quantized at once: a trellis rounds matrices of one width together."""
    groups: dict[object, list[CalibratedMatrix]] = {}
    for each in matrices:
        alone = each.tuned is not None or not each.states
        groups.setdefault(each.name if alone else each.scaled.shape[1], []).append(each)
    return list(groups.values())


def quantize_matrices(
    given: Sequence[CalibratedMatrix], scale: float, *, low_rank: LowRank, poll: Callable[[], None] = lambda: None
) -> list[QuantizedMatrix]:
    """Integers of calibrated matrices at the global step `scale`, the unit of all weighted errors.

    Matrices are independent; those of one width are faster at once. `poll` is called now and then and may raise to
    stop.
    """
    found = round_matrices(given, scale, low_rank=low_rank, poll=poll)
    return [_coded(each, scale, rounding) for each, rounding in zip(given, found, strict=True)]


def round_matrices(
    given: Sequence[CalibratedMatrix], scale: float, *, low_rank: LowRank, poll: Callable[[], None] = lambda: None
) -> list[Rounding]:
    """Quantize the factors, then round the rest of each matrix with GPTQ error feedback."""
    found: dict[str, Rounding] = {}
    rests: list[tuple[CalibratedMatrix, Weights]] = []
    for each in given:
        poll()
        if each.tuned is not None:
            targets = each.tuned.at(scale)
            found[each.name] = Rounding(each.tuned.factors, targets, np.rint(targets))
            continue
        factors = _factors(each, scale, low_rank)
        found[each.name] = Rounding(factors, None, None)
        if low_rank != "only":
            target = each.scaled / np.float32(each.unit(scale))
            rests.append((each, target - reconstruct(factors) if factors.rank else target))
    for each, targets, values in _fed_back(rests, poll):
        found[each.name] = replace(found[each.name], targets=targets, values=values)
    return [found[each.name] for each in given]


def distortion(given: CalibratedMatrix, quantized: QuantizedMatrix, scale: float) -> float:
    """Predicted loss increase, nats per token, under the Fisher matrix that the steps were made from."""
    error = decode_unscaled(quantized) * np.float32(given.unit(scale)) - given.scaled
    return given.fisher.cost(error.astype(np.float64) * given.steps.relative() * given.base)


def _coded(given: CalibratedMatrix, scale: float, rounding: Rounding) -> QuantizedMatrix:
    """Integers of one matrix, given its rounding."""
    shape, step = _shape(given.scaled), given.step(scale)
    residual = None if rounding.values is None else symbols_of(rounding.values, given.states)
    if residual is None or not residual.any():
        even = ContextScales.even(0, shape)
        return QuantizedMatrix(given.name, shape, step, given.steps, rounding.factors, None, even)
    scales = ContextScales(whole_scale(residual, given.steps), *given.offsets)
    return QuantizedMatrix(given.name, shape, step, given.steps, rounding.factors, residual, scales, given.states)


def _fed_back(
    rests: Sequence[tuple[CalibratedMatrix, Weights]], poll: Callable[[], None]
) -> Iterator[tuple[CalibratedMatrix, Weights, Weights]]:
    """Yield each matrix with its targets and their rounded values; a trellis rounds matrices of one width together."""
    by_width: dict[int, list[tuple[CalibratedMatrix, Weights]]] = {}
    for each, rest in rests:
        if each.states:
            by_width.setdefault(rest.shape[1], []).append((each, rest))
        else:
            values, targets = round_columns(rest, each.feedback)
            yield each, targets, values
    for group in by_width.values():
        nearest = _nearest(group[0][0].states, [len(rest) for _, rest in group], poll)
        found = round_together([rest for _, rest in group], [each.feedback for each, _ in group], nearest)
        for (each, _), (values, targets) in zip(group, found, strict=True):
            yield each, targets, values


def _nearest(states: int, sizes: list[int], poll: Callable[[], None]) -> Callable[[Tensor], Tensor]:
    """A function that rounds a column (Σ sizes,) of concatenated matrices of `sizes` rows to its best trellis paths."""
    code, where, total = trellis.of(states), trellis.side_by_side(sizes), sum(sizes)
    column, rounded = np.zeros(total + 1, dtype=np.float32), np.empty(total + 1, dtype=np.float32)

    def nearest(targets: Tensor) -> Tensor:
        poll()
        column[:total] = targets.numpy()
        rounded[where] = code.round_lanes(column.take(where))
        return torch.from_numpy(rounded[:total])

    return nearest


def _factors(given: CalibratedMatrix, scale: float, low_rank: LowRank) -> Factors:
    """Quantized factors of the rank that pays at this step."""
    if low_rank == "off":
        return no_factors(*_shape(given.scaled))
    rank = choose_rank(given.spectrum(), scale, low_rank) if given.rank is None else given.rank
    factors = factorize(given.spectrum(), scale, rank, low_rank, feedback=given.feedback)
    # the product of both factors is in units of the residual's symbols
    return replace(factors, base=factors.base * math.sqrt(scale / given.unit(scale))) if rank else factors


def _shape(matrix: Weights) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]
