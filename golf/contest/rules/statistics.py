"""Welch's one-sided t-test."""

from __future__ import annotations

import math
import statistics

# Nodes of Simpson's rule; the integrand is smooth.
_STEPS = 2000


def welch_one_sided(lower: list[float], higher: list[float], *, margin: float = 0.0) -> float:
    """p-value of the sample means if `lower`'s true mean were only `margin` below `higher`'s (Welch 1947).

    One of them may hold a single value: it then counts as known. Samples without variance give 0 or 1.
    """
    variances = [statistics.variance(each) / len(each) if len(each) > 1 else 0.0 for each in (lower, higher)]
    spread = sum(variances)
    difference = statistics.fmean(higher) - statistics.fmean(lower) - margin
    if spread == 0:
        return 0.0 if difference > 0 else 1.0
    terms = [v**2 / (len(each) - 1) for v, each in zip(variances, (lower, higher), strict=True) if v]
    t, freedom = difference / math.sqrt(spread), spread**2 / sum(terms)
    tail = _two_sided(abs(t), freedom) / 2
    return tail if t > 0 else 1 - tail


def _two_sided(t: float, freedom: float) -> float:
    """P(|T| > t) of Student's t: the integral of cos^(freedom - 1) from atan(t / sqrt(freedom)) to π/2."""
    low = math.atan(t / math.sqrt(freedom))
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    width = (math.pi / 2 - low) / _STEPS
    nodes = [max(math.cos(low + i * width), 0.0) ** (freedom - 1) for i in range(_STEPS + 1)]
    area = width / 3 * (nodes[0] + nodes[-1] + 4 * sum(nodes[1::2]) + 2 * sum(nodes[2:-1:2]))
    return min(1.0, 2 * norm * area)
