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


def show(tables: Iterable[RenderableType]) -> None:
    """Print tables to stdout; without colour where stdout is no terminal or NO_COLOR is set."""
    from rich.console import Console

    # 100 columns where the output is a pipe or a file, so that no figure is cut
    width = None if sys.stdout.isatty() else 100
    console = Console(width=width, highlight=False, soft_wrap=False)
    with console.capture() as captured:  # rich would end the process itself where the reader has gone
        for table in tables:
            console.print(table)
    print(captured.get(), end="", flush=True)


def show_json(value: dict[str, Any]) -> None:
    """Print one JSON object to stdout."""
    print(json.dumps(finite(value), allow_nan=False))


def as_text(value: dict[str, Any]) -> str:
    """`value` as indented JSON with a final newline."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def note(text: str) -> None:
    """Print one sentence to stderr."""
    print(f"note: {visible(text)}", file=sys.stderr, flush=True)


def next_command(command: str) -> None:
    """Print the likely next command to stderr."""
    print(f"next: {visible(command)}", file=sys.stderr, flush=True)


@contextmanager
def watching(total_steps: int | None = None) -> Iterator[Observer]:
    """An Observer that shows progress: a live bar on a terminal, else a line for every logged record."""
    from golf.runtime.observer import Observer

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
