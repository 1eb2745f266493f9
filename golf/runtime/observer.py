"""What a caller may watch of long work, and how it stops it. Rooms and flows never print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from golf.runtime.interrupt import StopFlag


@dataclass(frozen=True)
class Observer:
    """Callbacks: a named stage with its share done, a logged record, a note for the user, and a request to stop."""

    stage: Callable[[str, float], None] = lambda _name, _share: None
    record: Callable[[dict[str, Any]], None] = lambda _record: None
    note: Callable[[str], None] = lambda _text: None
    check: Callable[[], None] = lambda: None
    """called often, from any thread; may raise to stop"""

    def placed(self, places: dict[str, str]) -> Observer:
        """The same observer that hears stages by other names: those of `places`, by the stage's first word."""

        def stage(name: str, share: float) -> None:
            word = name.partition(" ")[0]
            self.stage(places.get(word, name), share)

        return replace(self, stage=stage)

    def stopping(self, stop: StopFlag, message: str) -> Observer:
        """The same observer whose `check` raises Interrupted with `message` once `stop` is set."""
        return replace(self, check=lambda: stop.raise_if_stopped(message))
