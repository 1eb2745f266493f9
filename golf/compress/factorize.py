"""Low-rank factors: which singular directions pay for their bytes, and how finely to store them.

All of this happens in scaled coordinates, where every weight's quantization step is 1, so that one λ prices a squared
error against a bit in every matrix of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from golf.compress.quantize import Symbols, dequantize, from_codes, quantize, to_codes

LowRank = Literal["auto", "off", "only"]

# A unit-step uniform quantizer spends D = 1/12 with dD/dR = -2 ln 2 D: the price of a bit in squared error.
BIT_PRICE = 2 * math.log(2) / 12


@dataclass(frozen=True)
class Spectrum:
    """Singular value decomposition of a scaled matrix (M, N): left (M, K), values (K,), right (K, N), float32."""

    left: NDArray[np.float32]
    values: NDArray[np.float32]
    right: NDArray[np.float32]


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


def spectrum(scaled: NDArray[np.float32]) -> Spectrum:
    """Decompose a scaled matrix (M, N) once; any coarser step only divides its singular values."""
    left, values, right = torch.linalg.svd(torch.from_numpy(scaled), full_matrices=False)
    return Spectrum(left.numpy(), values.numpy(), right.numpy())


def choose_rank(values: NDArray[np.float32], shape: tuple[int, int], low_rank: LowRank) -> int:
    """The rank with the least cost D + λR, given singular values (K,) in units of the step; 0 where none pays.

    A weight of variance v costs J(v): v itself while it rounds to zero (v ≤ 1/12), and 1/12 plus the price of its bits
    above that, J(v) = (1 + ln 12v) / 12. Keeping R terms leaves the variance of the others and of the factors' own
    rounding to the residual, and costs the bits of R (M + N) factor entries. At high rate a term of energy share s
    therefore pays iff s > 2 ln 2 · b · (M + N) / (M N).
    """
    if low_rank == "off" or not len(values):
        return 0
    M, N = shape
    energy = values.astype(np.float64) ** 2
    tail = np.append(np.cumsum(energy[::-1])[::-1], 0.0) / (M * N)  # variance left at rank 0, 1, ... K
    costs = {}
    for rank in _candidates(len(values)):
        coarseness = max(1.0, 12 * tail[rank]) if low_rank == "auto" else 1.0
        left = tail[rank] + rank * (M + N) * coarseness / (12 * M * N)
        cost = left if low_rank == "only" or left <= 1 / 12 else (1 + math.log(12 * left)) / 12
        costs[rank] = M * N * cost + BIT_PRICE * _factor_bits(energy[:rank] / coarseness, shape)
    return min(costs, key=costs.__getitem__)


def _candidates(most: int) -> list[int]:
    """Ranks worth trying: all small ones, then a few per octave, then full rank."""
    sparse = np.rint(np.geomspace(1, most, 24 + 4 * most.bit_length())).astype(int)
    return sorted({0, *range(min(most, 16) + 1), *sparse.tolist()})


def no_factors(M: int, N: int) -> Factors:
    """Rank 0."""
    empty = np.empty(0, dtype=np.uint8)
    return Factors(np.empty((M, 0), dtype=np.int32), np.empty((0, N), dtype=np.int32), 1.0, empty)


def factorize(given: Spectrum, scale: float, rank: int, low_rank: LowRank) -> Factors:
    """Quantize the first `rank` terms of a spectrum whose values are divided by `scale` (the global step)."""
    M, N = given.left.shape[0], given.right.shape[1]
    if not rank:
        return no_factors(M, N)
    values = given.values.astype(np.float64) / scale
    variance = float(np.square(values[rank:]).sum()) / (M * N) if low_rank == "auto" else 0.0
    values = values[:rank]
    base, codes = to_codes(np.sqrt(max(1.0, 12 * variance) / values))
    steps = (base * from_codes(codes)).astype(np.float32)
    root = np.sqrt(values).astype(np.float32) / steps
    return Factors(quantize(given.left[:, :rank] * root), quantize(given.right[:rank] * root[:, None]), base, codes)


def reconstruct(factors: Factors) -> NDArray[np.float32]:
    """The decoded product (M, N) float32 in scaled coordinates: what the residual is taken against."""
    steps = (factors.base * from_codes(factors.codes)).astype(np.float32)
    left = torch.from_numpy(dequantize(factors.left) * steps)
    right = torch.from_numpy(dequantize(factors.right) * steps[:, None])
    return (left @ right).numpy()


def _factor_bits(in_steps: NDArray[np.float64], shape: tuple[int, int]) -> float:
    """Bits of the M + N entries of every term, given its energy in units of its squared step (R,).

    An entry of variance v in units of its step costs about ½ log₂(1 + 2πe v) bits (exact at high rate).
    """
    return float(sum(0.5 * n * np.log2(1 + 2 * math.pi * math.e * in_steps / n).sum() for n in shape))
