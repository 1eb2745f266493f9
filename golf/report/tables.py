"""The one look of golf's tables: light rules, right-aligned figures."""

from __future__ import annotations

from rich import box
from rich.table import Table


def table(title: str, *columns: str, text_columns: int = 1) -> Table:
    """An empty table; the first `text_columns` columns are left-aligned, the others hold figures."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index < text_columns else "right", overflow="fold")
    return made


def percent(part: float, whole: float) -> str:
    """Share with two decimals, exact enough to tell 99.99 % from 100 %."""
    return f"{100 * part / whole:.2f} %" if whole else "-"
