"""Weights to integers: scaled, factorized, rounded.

`targets_of` owns the order of things: factors are quantized first, decoded, and the residual is what their DECODED
product leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from golf.compress import trellis
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
from golf.compress.feedback import feedback, round_columns, round_together
from golf.compress.integers import Coded, Weights, spread_of, symbols_of, unscaled
from golf.compress.quantize import Steps, from_codes, to_codes
from golf.compress.sensitivity import Sensitivity


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
    states: int = 0
    """of the trellis that residuals are quantized with; 0: plain rounding"""

    def unit(self, scale: float) -> float:
        """The step of residual symbols at the global step `scale`, which sets how large errors are.

        A trellis's grid is finer than plain rounding's of the same error.
        """
        return scale * trellis.GRAIN if self.states else scale


def prepare_matrix(
    name: str, weights: Weights, sensitivity: Sensitivity, *, low_rank: LowRank, states: int = 0
) -> Prepared:
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
    return Prepared(name, scaled, steps, base, sensitivity, back.scaled(column_steps), terms, states=states)


def together(prepared: Iterable[Prepared]) -> list[list[Prepared]]:
    """Matrices in groups that `code_matrices` is fastest with: those that a trellis rounds by columns side by side."""
    groups: dict[object, list[Prepared]] = {}
    for each in prepared:
        alone = each.tuned is not None or not each.states
        groups.setdefault(each.name if alone else each.scaled.shape[1], []).append(each)
    return list(groups.values())


def code_matrices(
    given: Sequence[Prepared], scale: float, *, low_rank: LowRank, poll: Callable[[], None] = lambda: None
) -> list[Coded]:
    """Integers of prepared matrices at the global step `scale`, which all of their weighted errors are in units of.

    Matrices do not mind one another; many of equally many columns are faster at once. `poll` is called now and then
    and may raise to stop.
    """
    found = targets_of(given, scale, low_rank=low_rank, poll=poll)
    return [_coded(each, scale, *parts) for each, parts in zip(given, found, strict=True)]


def code_matrix(given: Prepared, scale: float, *, low_rank: LowRank) -> Coded:
    """`code_matrices` of one."""
    return code_matrices([given], scale, low_rank=low_rank)[0]


def targets_of(
    given: Sequence[Prepared], scale: float, *, low_rank: LowRank, poll: Callable[[], None] = lambda: None
) -> list[tuple[Factors, Weights | None]]:
    """Factors, and what residual symbols are rounded from, (M, N) in units of their steps; None without residual.

    The targets of an untuned matrix have the errors of the columns behind them fed back.
    """
    found: dict[str, tuple[Factors, Weights | None]] = {}
    columns: dict[int, list[tuple[Prepared, Weights]]] = {}
    for each in given:
        if each.tuned is not None:
            found[each.name] = _rescaled(each.tuned, scale), each.tuned.targets / np.float32(each.unit(scale))
            continue
        factors = _factors(each, scale, low_rank)
        found[each.name] = factors, None
        if low_rank != "only":
            target = each.scaled / np.float32(each.unit(scale))
            rest = target - reconstruct(factors) if factors.rank else target
            columns.setdefault(rest.shape[1], []).append((each, rest))
    for group in columns.values():
        for (each, _), targets in zip(group, _fed_back(group, poll), strict=True):
            found[each.name] = found[each.name][0], targets
    return [found[each.name] for each in given]


def distortion(given: Prepared, coded: Coded, scale: float) -> float:
    """Predicted loss increase, nats per token, under the Fisher matrix that the steps were made from."""
    error = unscaled(coded) * np.float32(given.unit(scale)) - given.scaled
    return given.sensitivity.cost(error.astype(np.float64) * given.steps.relative() * given.base)


def _coded(given: Prepared, scale: float, factors: Factors, targets: Weights | None) -> Coded:
    """Integers of one matrix, given its factors and its residual's targets."""
    shape, step = _shape(given.scaled), given.base * given.unit(scale)
    residual = None if targets is None else symbols_of(targets, given.states)
    if residual is None or not residual.any():
        return Coded(given.name, shape, step, given.steps, factors, None)
    return Coded(
        given.name, shape, step, given.steps, factors, residual, spread_of(residual, given.steps), given.states
    )


def _fed_back(group: Sequence[tuple[Prepared, Weights]], poll: Callable[[], None]) -> list[Weights]:
    """Targets (M, N) of matrices of equally many columns, rounded side by side where that is faster."""
    plain, coded = ([pair for pair in group if bool(pair[0].states) == kind] for kind in (False, True))
    found = {given.name: round_columns(target, given.spread)[1] for given, target in plain}
    if coded:
        nearest = _nearest(coded[0][0].states, [len(target) for _, target in coded], poll)
        spreads = [given.spread for given, _ in coded]
        _, targets = round_together([target for _, target in coded], spreads, nearest)
        found |= {given.name: each for (given, _), each in zip(coded, targets, strict=True)}
    return [found[given.name] for given, _ in group]


def _nearest(states: int, sizes: list[int], poll: Callable[[], None]) -> Callable[[Tensor], Tensor]:
    """What a trellis rounds one column to, of matrices of `sizes` rows side by side."""
    code, where, total = trellis.Trellis(states), trellis.side_by_side(sizes), sum(sizes)
    column, rounded = np.zeros(total + 1, dtype=np.float32), np.empty(total + 1, dtype=np.float32)

    def nearest(targets: Tensor) -> Tensor:
        poll()
        column[:total] = targets.numpy()
        rounded[where] = code.round_lanes(column.take(where))
        return torch.from_numpy(rounded[:total])

    return nearest


def _rescaled(tuned: Tuned, scale: float) -> Factors:
    """The tuned factors in units of another step: the same product."""
    factors = tuned.factors
    return replace(factors, base=factors.base * math.sqrt(tuned.scale / scale)) if factors.rank else factors


def _factors(given: Prepared, scale: float, low_rank: LowRank) -> Factors:
    """Quantized factors of the rank that pays at this step."""
    if given.spectrum is None or low_rank == "off":
        return no_factors(*_shape(given.scaled))
    rank = choose_rank(given.spectrum, scale, low_rank) if given.rank is None else given.rank
    factors = factorize(given.spectrum, scale, rank, low_rank, spread=given.spread)
    # the product is one of units of the residual's symbols
    return replace(factors, base=factors.base * math.sqrt(scale / given.unit(scale))) if rank else factors


def _shape(matrix: Weights) -> tuple[int, int]:
    return matrix.shape[0], matrix.shape[1]
