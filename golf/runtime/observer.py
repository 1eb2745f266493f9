"""What a caller may watch of a long piece of work. Rooms and flows never print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Observer:
    """Callbacks: a named stage with its share done, a logged record, a note for the user."""

    stage: Callable[[str, float], None] = lambda _name, _share: None
    record: Callable[[dict[str, Any]], None] = lambda _record: None
    note: Callable[[str], None] = lambda _text: None
