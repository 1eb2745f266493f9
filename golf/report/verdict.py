"""A verdict as a table: expected, actual and margin of every check."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from golf.evaluation.results import Check, Measured, Verdict
from golf.report.tables import literal, table
from golf.runtime.visible import visible

_MARKS = {True: ("pass", "green"), False: ("FAIL", "bold red"), None: ("-", "")}


def verdict_table(verdict: Verdict) -> Table:
    """One row per check, with the source of its bound; below it each measurement."""
    made = table(f"{_state(verdict)} {verdict.artifact}", "", "expected", "actual", "margin", "by", "")
    for check in verdict.checks:
        mark, style = _MARKS[check.passed]
        made.add_row(check.name, *_figures(check), check.whose, Text(mark, style=style))
    lines = [visible(line) for line in _lines(verdict)]
    made.caption = literal("\n".join([*lines, f"in {verdict.seconds:.1f} s"]), lines=True)
    made.caption_justify = "left"
    return made


def _state(verdict: Verdict) -> str:
    if not verdict.passed:
        return "FAILED"
    if verdict.measured is None:
        return "WITHIN THE CAP, NO LOSS MEASURED:"
    return "VERIFIED" if verdict.loss_held else "WITHIN THE CAP, LOSS NOT CHECKED:"


def _lines(verdict: Verdict) -> Iterator[str]:
    if verdict.claim is not None:
        yield f"claim: {_slice(verdict.claim)}; the slice is the artifact's choice, its float figures are not checked"
    if verdict.own is not None:
        whose = "yours" if verdict.own.chosen_by == "--data" else "named by the artifact"
        yield f"{_slice(verdict.own)}; this text is {whose}"
    for found in (verdict.claim, verdict.own):
        if found is not None:
            yield from _remarks(found)
    if (proof := verdict.proof) is not None:
        what = f"{proof.tokens:,} tokens" if proof.text_bytes is None else f"{proof.text_bytes:,} bytes of text"
        script = f" and {proof.script_bytes:,} that restore the text" if proof.script_bytes else ""
        again = "decoded again" if proof.restored else "NOT decoded again"
        yield f"proof: {what} were coded into {proof.code_bytes:,} bytes{script}, and {again}"


def _slice(found: Measured) -> str:
    size = "" if found.bytes is None else f", {found.bytes:,} bytes"
    return f"{found.tokens:,} tokens{size} of {found.text}"


def _remarks(found: Measured) -> Iterator[str]:
    """What a reader must know of a measurement besides its figures."""
    if found.restoring_bits:
        yield (
            f"restoring the text: {found.restoring_bits:,} bits, counted into bits per byte; the contest's number, "
            f"which leaves them out: {found.contest_bpb:.6f}"
        )
    if found.bytes is None:
        yield "bytes unknown: these shards have no tokenizer beside them (--tokenizer)"
    elif found.counted_by:
        yield f"bytes as counted by {found.counted_by}"


def _figures(check: Check) -> list[str]:
    return [_figure(check.expected), _figure(check.actual), _figure(check.margin, signed=True)]


def _figure(value: float | int | str | None, *, signed: bool = False) -> str:
    if value is None or isinstance(value, str):
        return value or "-"
    sign = "+" if signed else ""
    return f"{value:{sign},}" if isinstance(value, int) else f"{value:{sign}.6f}"
