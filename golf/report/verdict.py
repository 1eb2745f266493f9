"""A verdict as a table: expected, actual and margin of every check."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from golf.evaluation.results import Check, Verdict
from golf.report.tables import literal, table

_MARKS = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("-", "")}


def verdict_table(verdict: Verdict) -> Table:
    """One row per check, with the source of its bound."""
    state = "FAILED" if not verdict.passed else "VERIFIED" if verdict.claim_held else "WITHIN CAPS, NO CLAIM HELD:"
    made = table(f"{state} {verdict.artifact}", "", "expected", "actual", "margin", "by", "")
    for check in verdict.checks:
        mark, style = _MARKS[check.passed]
        made.add_row(check.name, *_figures(check), check.whose, Text(mark, style=style))
    scored = f"{verdict.tokens:,} tokens, {verdict.bytes:,} bytes of {verdict.text}, in {verdict.seconds:.1f} s"
    made.caption = literal(scored)
    made.caption_justify = "left"
    return made


def _figures(check: Check) -> list[str]:
    return [_figure(check.expected), _figure(check.actual), _figure(check.margin, signed=True)]


def _figure(value: float | int | str | None, *, signed: bool = False) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    sign = "+" if signed else ""
    return f"{value:{sign},}" if isinstance(value, int) else f"{value:{sign}.6f}"
