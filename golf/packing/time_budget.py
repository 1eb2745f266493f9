"""TimeBudget: limit and count the seconds that a pack spends on training text after the training."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

# Uses of training text after the training: calibration, fine-tuning, measurements on held-out training text. The names
# are keys of logs and of --json.
USES = ("calibration", "tuning", "looks")

T = TypeVar("T")


class TimeBudget:
    """Counts the seconds of every use of training text against a limit; without a limit by default.

    `spent` holds seconds by use, `expected` the estimated seconds of one more batch or measurement by use.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        """Allow `seconds`, which may be 0 or negative."""
        self._seconds = seconds
        self._since: float | None = None
        self.spent = dict.fromkeys(USES, 0.0)
        self.expected = dict.fromkeys(USES, 0.0)

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return math.isfinite(self._seconds)

    @property
    def left(self) -> float:
        """Seconds left after all uses, the one in progress included; negative where the limit was overrun."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._seconds - sum(self.spent.values()) - running

    @contextmanager
    def using(self, use: str) -> Iterator[None]:
        """Count the seconds of the `with` block as `use`; blocks do not nest."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self.spent[use] += time.monotonic() - self._since
            self._since = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the seconds of the `with` block, which reads no training text, inside a block of `using`."""
        began = time.monotonic()
        try:
            yield
        finally:
            if self._since is not None:
                self._since += time.monotonic() - began

    def in_time(self, batches: Iterator[T], use: str) -> Iterator[T]:
        """Yield `batches` while there is time for one more of them and a measurement; always at least one."""
        for batch in batches:
            yield batch
            if self.left < self.expected[use] + self.expected["looks"]:
                break


def affordable(wanted: int, *, each: float, left: float) -> int:
    """Number of batches, at most `wanted`, of `each` seconds that end within `left` seconds."""
    if left <= 0:
        return 0
    return wanted if each * wanted <= left else int(left / each)
