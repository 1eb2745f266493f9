"""Finite numbers out of untrusted JSON."""

from __future__ import annotations

import math
from typing import Any

# No loss, time or size is larger, and arithmetic on larger numbers could overflow.
_LARGEST = 1e15


def number(value: Any) -> float | None:
    """A finite number as float; None for anything else, a boolean too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST < value < _LARGEST:
        return None
    return float(value) if math.isfinite(value) else None


def count(value: Any) -> int | None:
    """A whole number above 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST else None
