"""The rate-distortion limit of Gaussian weights, and the conditional entropy of symbols, for the ledger's `rate`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from golf.compress.context_coder import Histogram, fits
from golf.compress.decode_matrix import QuantizedMatrix
from golf.compress.encode_matrix import CalibratedMatrix
from golf.compress.matrix_sections import residual_part

# Bisections of the water level: to the last bit of a float64.
_HALVINGS = 60


def limit_bits(matrices: Iterable[CalibratedMatrix], gap: float) -> float:
    """Bits at the rate-distortion limit of all matrices together, at a predicted loss increase of `gap` nats per token.

    For Gaussian weights with the variance of their row, independent in the eigenbasis of the inputs' metric, under the
    Fisher matrix that the steps were made from: reverse water-filling (Cover & Thomas, Elements of Information Theory,
    theorem 10.3.3). Infinite for a gap of 0. Codes that use more knowledge of the weights, such as the variance of
    columns, may take fewer bits.
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
    """Conditional entropy in bits of all residual symbols given their classes; tables are not counted."""
    histogram = Histogram()
    for matrix in quantized:
        part = residual_part(matrix)
        if part is not None and fits(*part):
            histogram.add(*part)
    return histogram.ideal_bits()


def _variances(given: CalibratedMatrix) -> NDArray[np.float64]:
    """Twice the predicted loss increase in nats per token of setting each coefficient of a matrix to zero, (M · N,)."""
    weights = given.scaled.astype(np.float64) * given.steps.relative() * given.base
    rows = given.fisher.rows * np.square(weights).mean(1)
    return np.outer(rows, np.linalg.eigvalsh(given.fisher.metric).clip(min=0)).ravel()
