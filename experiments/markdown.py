"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def markdown(head: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """Lines of one table."""
    cells = [*map(str, head)]
    return [_line(cells), "|---" * len(cells) + "|", *(_line(map(str, row)) for row in rows)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
