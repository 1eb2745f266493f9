"""Progress and notes on stderr (one live line on a terminal, plain lines elsewhere); tables and JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from golf.run.log_lines import step_line
from golf.runtime.json_values import finite
from golf.runtime.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from golf.runtime.observer import Observer


# Whether -q asked for the answer alone; one command a process, but for tests, which begin anew in `main`.
_quiet = False


def be_quiet(quiet: bool = True) -> None:
    """Print answers and errors alone from now on."""
    global _quiet
    _quiet = quiet


# Columns that tables need at least.
_NARROWEST = 60


def show(tables: Iterable[RenderableType]) -> None:
    """Print tables to stdout; without escapes where stdout is no terminal or NO_COLOR is set.

    Into a pipe or a file they are as wide as COLUMNS says, else 100 columns, and lines have no spaces at their ends.
    """
    from rich.console import Console

    terminal = sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) >= _NARROWEST else 100
    plain = not terminal or "NO_COLOR" in os.environ  # which rich takes for no colour, but for bold
    console = Console(
        width=None if terminal else width,
        highlight=False,
        soft_wrap=False,
        color_system=None if plain else "auto",
    )
    with console.capture() as captured:  # rich would end the process itself where the reader has gone
        for table in tables:
            console.print(table)
    lines = (line.rstrip() for line in captured.get().splitlines()) if plain else captured.get().splitlines()
    print("\n".join(lines), flush=True)


def show_json(value: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    print(json.dumps(finite(value), allow_nan=False, default=str))  # a recipe may hold dates, as TOML has them


def note(text: str) -> None:
    """Print one sentence to stderr."""
    if not _quiet:
        print(f"note: {visible(text)}", file=sys.stderr, flush=True)


def next_command(command: str) -> None:
    """Print the likely next command to stderr."""
    if not _quiet:
        print(f"next: {visible(command)}", file=sys.stderr, flush=True)


@contextmanager
def watching(total_steps: int | None = None) -> Iterator[Observer]:
    """An Observer that shows progress: a live bar on a terminal, else a line for every logged record."""
    from golf.runtime.observer import Observer

    if _quiet:
        yield Observer()
        return
    if sys.stderr.isatty() and "NO_COLOR" not in os.environ:
        from golf.cli.progress import live

        with live(total_steps) as observer:
            yield observer
        return

    def record(figures: dict[str, Any]) -> None:
        line = step_line(figures, total_steps)
        if total_steps:
            line += f" eta:{figures['elapsed'] * (total_steps / figures['step'] - 1):.0f}s"
        print(line, file=sys.stderr, flush=True)

    yield Observer(record=record, note=note)
