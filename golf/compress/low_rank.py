"""Low-rank factors of a weight matrix: choose the rank by rate-distortion cost, and quantize the factors.

Directions are the singular vectors of the weighted matrix  G^½ W C  (G the Fisher rows, C Cᵀ the metric of the inputs),
where squared errors are losses: keeping its first R terms is the best approximation of rank R. Costs are computed in
scaled coordinates, in which every weight's quantization step is 1, so one λ trades squared error against bits in every
matrix of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from golf.compress.gptq import round_columns
from golf.compress.quantize import Symbols, dequantize, from_codes, quantize, to_codes

LowRank = Literal["auto", "off", "only"]

# Rows of a product that are summed at a time, so that they stay in the cache.
_ROWS = 32
# λ: squared error per bit. A uniform quantizer of step 1 has D = 1/12, and dD/dR = -2 ln 2 D at high rate.
BIT_PRICE = 2 * math.log(2) / 12


@dataclass(frozen=True)
class Spectrum:
    """Terms of a matrix (M, N) in scaled coordinates, float32: it equals left (M, K) · values (K,) · right (K, N).

    `values` are the singular values of the weighted matrix. `ranks` are the ranks worth trying; `tails` holds, for each
    of them, the mean square of the scaled matrix's remainder.
    """

    left: NDArray[np.float32]
    values: NDArray[np.float32]
    right: NDArray[np.float32]
    ranks: list[int]
    tails: list[float]

    def energy(self, rank: int) -> float:
        """Share of the weighted matrix's squared Frobenius norm in its first `rank` singular directions."""
        energy = np.square(self.values, dtype=np.float64)
        return float(energy[:rank].sum() / max(energy.sum(), 1e-300))


@dataclass(frozen=True)
class Factors:
    """Quantized left (M, R) and right (R, N) factors; term k of both has step `base` · 2^(codes_k / 4)."""

    left: Symbols
    right: Symbols
    base: float
    codes: NDArray[np.uint8]

    @property
    def rank(self) -> int:
        """R, the number of rank-one terms."""
        return len(self.codes)


def spectrum(
    scaled: NDArray[np.float32], rows: NDArray[np.float64], columns: NDArray[np.float64], metric: NDArray[np.float64]
) -> Spectrum:
    """SVD of the weighted matrix, in scaled coordinates (M, N); it is computed once, since steps only divide values.

    `rows` (M,) and `columns` (N,) turn scaled into weighted coordinates: the weighted matrix is
    diag(rows) · scaled · diag(columns) · C with C Cᵀ = `metric`.
    """
    lower = torch.linalg.cholesky(torch.from_numpy(metric)) * torch.from_numpy(columns)[:, None]
    weighted = torch.from_numpy(rows)[:, None] * (torch.from_numpy(scaled).double() @ lower)
    left, values, right = torch.linalg.svd(weighted.float(), full_matrices=False)
    left = (left.double() / torch.from_numpy(rows)[:, None]).float()
    right = torch.linalg.solve_triangular(lower, right.double(), upper=False, left=False).float()
    ranks = _candidates(len(values))
    remainder, tails, reached = torch.from_numpy(scaled).clone(), [], 0
    for rank in ranks:
        new = slice(reached, rank)
        remainder -= (left[:, new] * values[new]) @ right[new]
        tails.append(float(remainder.double().square().mean()))
        reached = rank
    return Spectrum(left.numpy(), values.numpy(), right.numpy(), ranks, tails)


def choose_rank(given: Spectrum, scale: float, low_rank: LowRank) -> int:
    """The rank with the least cost, distortion + λ · bits, at the global step `scale`; 0 where factors cost more.

    A weight of variance v (in squared steps) costs J(v): v itself while it rounds to zero (v ≤ 1/12), and 1/12 plus λ
    times its bits above that, J(v) = (1 + ln 12v) / 12. With R terms the residual has the variance of the other terms
    and of the factors' rounding errors, and R (M + N) factor entries cost their bits. At high rate a term of energy
    share s therefore lowers the cost iff s > 2 ln 2 · b · (M + N) / (M N), b the bits of an entry.
    """
    if low_rank == "off" or not len(given.values):
        return 0
    M, N = given.left.shape[0], given.right.shape[1]
    costs = {}
    for rank, tail in zip(given.ranks, given.tails, strict=True):
        variance = tail / scale**2
        coarseness = max(1.0, 12 * variance) if low_rank == "auto" else 1.0
        left = variance + rank * (M + N) * coarseness / (12 * M * N)
        cost = left if low_rank == "only" or left <= 1 / 12 else (1 + math.log(12 * left)) / 12
        costs[rank] = M * N * cost + BIT_PRICE * _factor_bits(given, rank, scale**2 * coarseness)
    return min(costs, key=costs.__getitem__)


def _candidates(most: int) -> list[int]:
    """Ranks worth trying: all small ones, then a few per octave, then full rank."""
    sparse = np.rint(np.geomspace(1, most, 24 + 4 * most.bit_length())).astype(int)
    return sorted({0, *range(min(most, 16) + 1), *sparse.tolist()})


def no_factors(M: int, N: int) -> Factors:
    """Factors of rank 0 for a matrix (M, N)."""
    empty = np.empty(0, dtype=np.uint8)
    return Factors(np.empty((M, 0), dtype=np.int32), np.empty((0, N), dtype=np.int32), 1.0, empty)


def factorize(given: Spectrum, scale: float, rank: int, low_rank: LowRank, *, feedback: NDArray[np.float32]) -> Factors:
    """Quantize the first `rank` terms at the global step `scale`; the right factor with error feedback (N, N)."""
    M, N = given.left.shape[0], given.right.shape[1]
    if not rank:
        return no_factors(M, N)
    values = given.values[:rank].astype(np.float64) / scale
    variance = given.tails[given.ranks.index(rank)] / scale**2 if low_rank == "auto" else 0.0
    values = np.maximum(values, values[0] * 1e-6)  # where the matrix has a smaller rank, a term may be zero
    base, codes = to_codes(np.sqrt(max(1.0, 12 * variance) / values))
    steps = (base * from_codes(codes)).astype(np.float32)
    root = np.sqrt(values).astype(np.float32) / steps
    right, _ = round_columns(given.right[:rank] * root[:, None], feedback)
    return Factors(quantize(given.left[:, :rank] * root), quantize(right), base, codes)


def reconstruct(factors: Factors) -> NDArray[np.float32]:
    """The decoded product left · right (M, N) float32 in scaled coordinates; the residual is the rest.

    The same bits on every machine: the terms of each weight, exact in float64, are added in their order in float64 and
    rounded once. A matrix product of a library has an order of its own, by CPU, threads and MKL_CBWR.
    """
    steps = (factors.base * from_codes(factors.codes)).astype(np.float32)
    left = (dequantize(factors.left) * steps).astype(np.float64)
    right = (dequantize(factors.right) * steps[:, None]).astype(np.float64)
    product = np.empty((len(left), right.shape[1]), dtype=np.float32)
    for start in range(0, len(left), _ROWS):
        rows = left[start : start + _ROWS]
        total, term = np.zeros((2, len(rows), right.shape[1]))
        for k in range(factors.rank):
            np.multiply(rows[:, k, None], right[k], out=term)
            total += term
        product[start : start + _ROWS] = total
    return product


def _factor_bits(given: Spectrum, rank: int, squared_step: float) -> float:
    """Bits of the M + N entries of the first `rank` terms; a term's squared step is `squared_step` over its value.

    An entry of variance v in units of its step costs about ½ log₂(1 + 2πe v) bits (exact at high rate).
    """
    squares = np.square(given.values[:rank], dtype=np.float64) / squared_step
    bits = 0.0
    M, N = given.left.shape[0], given.right.shape[1]
    for n, share in ((M, np.square(given.left[:, :rank]).mean(0)), (N, np.square(given.right[:rank]).mean(1))):
        bits += float(0.5 * n * np.log2(1 + 2 * math.pi * math.e * squares * share).sum())
    return bits
