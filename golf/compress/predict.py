"""The size that a pack would have, from a look at the weights: for the progress line of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.compress.allocate import finest_scale, least_scale, solve
from golf.compress.codec import prepare_matrix
from golf.compress.entropy import ideal_bits
from golf.compress.quantize import quantize
from golf.compress.sensitivity import Sensitivity

# Weights of one matrix that are looked at; rows are strided evenly beyond it.
_SAMPLE = 1 << 16
# Bytes of one matrix beside its symbols, from artifacts of 1-3M parameters: two manifest entries and a histogram.
_MATRIX_OVERHEAD = 75
# And of one file: header, recipe, claim, versions.
_FILE_OVERHEAD = 1400


@dataclass(frozen=True)
class Prediction:
    """What packing under the cap would give; `wanted_bytes` is the size at which more bytes stop paying."""

    bytes: int
    wanted_bytes: int
    bits_per_weight: float
    gap: float
    """predicted loss increase, nats per token"""


def predict(
    matrices: Mapping[str, NDArray[np.float32]],
    sensitivities: Mapping[str, Sensitivity],
    *,
    other_bytes: int,
    room: int,
    target_gap: float,
) -> Prediction:
    """Size and gap of packing `matrices` (M, N each) into `room` bytes, `other_bytes` of them tokenizer and gains.

    Order-0 entropies of the rounded weights at the step that the allocator would choose; no factors.
    """
    samples, norms, weights, overhead = [], [0.0], 0, _FILE_OVERHEAD + other_bytes
    for name, matrix in matrices.items():
        prepared = prepare_matrix(name, matrix, sensitivities[name], low_rank="off")
        samples.append((_sample(prepared.scaled), matrix.size))
        norms.append(float(np.linalg.norm(prepared.scaled)))
        weights += matrix.size
        codes = np.concatenate((prepared.steps.rows, prepared.steps.columns))
        overhead += _MATRIX_OVERHEAD + int(ideal_bits(codes.astype(np.int32)) / 8)

    def size_at(scale: float) -> tuple[int, float]:
        bits = squares = 0.0
        for sample, count in samples:
            values = sample / np.float32(scale)
            symbols = quantize(values)
            bits += ideal_bits(symbols) / sample.size * count
            squares += float(np.square(values - symbols, dtype=np.float64).mean()) * count
        return overhead + math.ceil(bits / 8), 0.5 * scale**2 * squares

    finest = max(finest_scale(weights, target_gap), *(least_scale(norm) for norm in norms))
    wanted, gap = size_at(finest)
    size = wanted
    if wanted > room:
        solution = solve(size_at, room=room, finest=finest, weights=weights)
        size, gap = (solution, math.inf) if isinstance(solution, int) else (solution.size, solution.packed)
    return Prediction(size, wanted, max(0, size - overhead) * 8 / weights, gap)


def _sample(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
    stride = max(1, scaled.size // _SAMPLE)
    return scaled[::stride]
