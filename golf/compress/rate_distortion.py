"""How far a pack is from the rate-distortion limit of weights whose rows alone differ, and what lies above it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from golf.compress.context_coder import Histogram, fits
from golf.compress.decode_matrix import QuantizedMatrix
from golf.compress.encode_matrix import CalibratedMatrix
from golf.compress.matrix_sections import conditional_parts

# Halvings of the interval that holds the water level: to the last bit of a float64.
_HALVINGS = 60


def limit_bits(matrices: Iterable[CalibratedMatrix], gap: float) -> float:
    """Bits at the rate-distortion limit of all matrices together, at a predicted loss increase of `gap` nats per token.

    For Gaussian weights with the variance of their row, independent in the eigenbasis of the inputs' metric, under the
    Fisher matrix that the steps were made from: reverse water-filling (Cover & Thomas, Elements of Information Theory,
    theorem 10.3.3). Infinite for a gap of 0. Codes that know more of the weights, as the variance of columns, may lie
    below it.
    """
    if gap <= 0:
        return float("inf")
    every = np.concatenate([_variances(each) for each in matrices])
    every = every[every > 0]
    low, high = 0.0, float(every.max(initial=0.0))
    for _ in range(_HALVINGS):
        water = (low + high) / 2
        low, high = (water, high) if 0.5 * np.minimum(every, water).sum() < gap else (low, water)
    return float(0.5 * np.log2(np.maximum(every / high, 1)).sum()) if high else float("inf")


def ideal_bits(quantized: Iterable[QuantizedMatrix]) -> float:
    """Conditional entropy in bits of all residuals together, tables not counted.

    What a perfect coder would need that knows the distribution of each class.
    """
    histogram = Histogram()
    for matrix in quantized:
        if matrix.residual is not None:
            symbols, classes = conditional_parts(matrix)["residual"]
            if fits(symbols, classes):
                histogram.add(symbols, classes)
    return histogram.ideal_bits()


def _variances(given: CalibratedMatrix) -> NDArray[np.float64]:
    """Twice the predicted loss, in nats per token, of losing each coefficient of a matrix (M · N,)."""
    weights = given.scaled.astype(np.float64) * given.steps.relative() * given.base
    rows = given.fisher.rows * np.square(weights).mean(1)
    return np.outer(rows, np.linalg.eigvalsh(given.fisher.metric).clip(min=0)).ravel()
