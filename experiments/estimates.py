"""Means with their errors, and whether two of them differ."""

from __future__ import annotations

import math
import statistics

from golf.contest.rules.statistics import welch_one_sided


def mean_and_error(values: list[float], digits: int = 4, *, sign: str = "") -> str:
    """Mean ± standard error, which one value has not; `sign` "+" shows the sign of a difference."""
    mean = f"{statistics.fmean(values):{sign}.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {standard_error(values):.{digits}f}"


def standard_error(values: list[float]) -> float:
    """Of the mean of several values."""
    return statistics.stdev(values) / math.sqrt(len(values))


def welch(first: list[float], second: list[float]) -> float:
    """Two-sided p value of Welch's t test."""
    p = welch_one_sided(first, second)
    return 2 * min(p, 1 - p)
