"""Seconds for which training text may still be read once a training is over: how many, and what they go to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

# What reading training text is for, once the weights are trained; the names stand in logs and in --json.
USES = ("calibration", "tuning", "looks")

T = TypeVar("T")


class TimeBudget:
    """Counts the seconds of every use of training text against those that are allowed; endless by default.

    `spent` holds seconds by use, `expected` those that one more batch, or measurement, of a use should take.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        """Allow `seconds`, which may be none or less."""
        self._seconds = seconds
        self._since: float | None = None
        self.spent = dict.fromkeys(USES, 0.0)
        self.expected = dict.fromkeys(USES, 0.0)

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return math.isfinite(self._seconds)

    @property
    def left(self) -> float:
        """Seconds that are left, those of the use that goes on taken off; negative where the limit was overrun."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._seconds - sum(self.spent.values()) - running

    @contextmanager
    def using(self, use: str) -> Iterator[None]:
        """Count the body's seconds as `use`; bodies do not nest."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self.spent[use] += time.monotonic() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count none of the body's seconds: it reads no training text, though the use around it does."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._since is not None:
                self._since += time.monotonic() - began

    def in_time(self, batches: Iterator[T], use: str) -> Iterator[T]:
        """`batches` until another one of them and a measurement would not end in time."""
        for batch in batches:
            yield batch
            if self.left < self.expected[use] + self.expected["looks"]:
                break


def affordable(wanted: int, *, each: float, left: float) -> int:
    """How many of `wanted` batches of `each` seconds end within the seconds `left`."""
    if left <= 0:
        return 0
    return wanted if each * wanted <= left else int(left / each)
