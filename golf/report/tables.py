"""The common style of golf's tables: light rules, right-aligned numbers."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from golf.runtime.visible import visible


class PlainTable(Table):
    """A table that shows text literally, since paths and manifests may contain rich's markup."""

    def add_row(self, *cells: RenderableType | None, **options: object) -> None:
        """`Table.add_row`, with every text literal and without control characters."""
        super().add_row(*(literal(cell) if isinstance(cell, str) else cell for cell in cells), **options)  # type: ignore[arg-type]


def literal(text: str, *, lines: bool = False) -> Text:
    """Text without markup, control characters replaced by `?`, newlines too unless `lines` says otherwise."""
    return Text(visible(text, lines=lines))


def table(title: str, *columns: str, text_columns: int = 1) -> PlainTable:
    """An empty table; the first `text_columns` columns are left-aligned, the others hold numbers."""
    made = PlainTable(
        title=literal(title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_header=any(columns),
    )
    for index, column in enumerate(columns):
        numbers = index >= text_columns
        # a column without a name holds sentences too; figures never wrap, names of rows give way to them
        whole = numbers and bool(column)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold", no_wrap=whole)
    return made


def percent(part: float, whole: float) -> str:
    """Share with two decimals, which tell 99.99 % from 100 %."""
    return f"{100 * part / whole:.2f} %" if whole else "-"
