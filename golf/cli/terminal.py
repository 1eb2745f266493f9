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


@contextmanager
def watching(total_steps: int | None = None) -> Iterator[Observer]:
    """An Observer that shows progress: a live bar on a terminal, else a line for every logged record."""
    from golf.runtime.observer import Observer

    if not sys.stderr.isatty() or "NO_COLOR" in os.environ:
        yield Observer(record=lambda r: print(step_line(r, total_steps), file=sys.stderr, flush=True), note=note)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)

        current = [""]

        def stage(name: str, share: float) -> None:
            group = name.partition(" ")[0]
            if group != current[0]:  # without a reset a finished task would never show a remaining time again
                current[0] = group
                progress.reset(task)
            progress.update(task, description=escape(visible(name)), completed=share)

        def record(figures: dict[str, Any]) -> None:
            stage("train", figures["step"] / total_steps if total_steps else 0.0)
            progress.update(task, description=escape(step_line(figures, total_steps)))
            if "val_loss" in figures:
                progress.console.print(step_line(figures, total_steps), highlight=False, markup=False)

        yield Observer(stage, record, note=lambda text: progress.console.print(f"note: {visible(text)}", markup=False))
