"""Numbers that somebody else wrote: a finite one, or none."""

from __future__ import annotations

import math
from typing import Any

# Beyond it no loss, time or size is one, and arithmetic would overflow.
_LARGEST = 1e15


def number(value: Any) -> float | None:
    """A finite number as float; None for anything else, a boolean too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST < value < _LARGEST:
        return None
    return float(value) if math.isfinite(value) else None


def count(value: Any) -> int | None:
    """A whole number above 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST else None
