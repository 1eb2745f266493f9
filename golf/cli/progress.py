"""The live line on a terminal: what is being done, a bar, the time left, and as many figures as fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from golf.runtime.observer import Observer
from golf.runtime.visible import visible

_BAR = 12
# Columns of the bar, of the time left ("12:34:56") and of the spaces between the parts.
_FIXED = _BAR + 8 + 3


@contextmanager
def live(total_steps: int | None) -> Iterator[Observer]:
    """An Observer that shows one live line; records with validation figures and notes stay above it."""
    console = Console(stderr=True)
    line = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", table_column=line),
        BarColumn(bar_width=_BAR),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}", table_column=line),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=1.0, figures="")
        current, validated = "", dict[str, Any]()

        def show(name: str, share: float, figures: str = "") -> None:
            nonlocal current
            group = name.partition(":")[0] if ":" in name else name.partition(" ")[0]
            if group != current:  # without a reset a finished task would never show a remaining time again
                current = group
                progress.reset(task)
            most = console.width - _FIXED - len(figures)
            progress.update(task, description=escape(visible(name)[:most]), completed=share, figures=escape(figures))

        def record(figures: dict[str, Any]) -> None:
            step = figures["step"]
            if "val_loss" in figures:
                validated.update({key: figures[key] for key in ("val_loss", "val_bpb") if key in figures})
                progress.console.print(kept_line(figures, total_steps), highlight=False, markup=False)
            name = f"train {step}/{total_steps}" if total_steps else f"train step {step}"
            room = console.width - _FIXED - len(name)
            show(name, step / total_steps if total_steps else 0.0, fitted(parts_of(validated | figures), room))

        def note(text: str) -> None:
            progress.console.print(f"note: {visible(text)}", markup=False)

        yield Observer(show, record, note)


def parts_of(record: dict[str, Any]) -> list[str]:
    """The figures of a logged record, the most wanted first."""
    parts = [f"loss {record['train_loss']:.3f}"]
    if "val_bpb" in record:
        parts.append(f"bpb {record['val_bpb']:.3f}")
    if "predicted_bytes" in record and "cap" in record:
        parts.append(f"packs {_sizes(record['predicted_bytes'], record['cap'])}")
        parts.append(f"+{record['predicted_gap']:.3f} packed")
    parts.append(f"{record['tokens_per_s']:,} tok/s")
    if "rate_penalty" in record:
        parts.append(f"L1 {record['rate_penalty']:.4f}")
    return parts


def fitted(parts: list[str], width: int) -> str:
    """As many of the parts as fit into `width` columns, two spaces between them."""
    while parts and len("  ".join(parts)) > width:
        parts = parts[:-1]
    return "  ".join(parts)


def kept_line(record: dict[str, Any], total_steps: int | None) -> str:
    """The line that stays on the screen after each look at the validation text."""
    parts = [f"step {record['step']}/{total_steps}" if total_steps else f"step {record['step']}"]
    parts.append(f"val_loss {record['val_loss']:.4f}")
    return "  ".join([*parts, *parts_of(record)[1:-1]])


def _sizes(predicted: int, cap: int) -> str:
    """Two sizes in the unit of the second: 22.3/60.0 kB, 15.90/16.00 MB."""
    unit, divisor, digits = ("B", 1, 0) if cap < 1000 else ("kB", 1000, 1) if cap < 1_000_000 else ("MB", 1_000_000, 2)
    return f"{predicted / divisor:.{digits}f}/{cap / divisor:.{digits}f} {unit}"
