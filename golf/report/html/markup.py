"""Pieces of HTML. Whatever is text goes through `escape` here; only finished markup is passed on as Markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

from golf.report.html.curves import Picture
from golf.runtime.visible import visible

Markup = NewType("Markup", str)


def text(value: str, *, lines: bool = False) -> Markup:
    """Text of anybody's, escaped, without control characters and marks that turn the direction of writing."""
    return Markup(escape(visible(value.replace("\t", "    "), lines=lines)))


def paragraph(words: str) -> Markup:
    """One paragraph."""
    return Markup(f"<p>{text(words)}</p>")


def preformatted(words: str) -> Markup:
    """Text as it is, with its lines."""
    return Markup(f"<pre>{text(words, lines=True)}</pre>")


def section(title: str, *content: Markup, key: str) -> Markup:
    """A section with its heading; `key` is its address in the page."""
    return Markup(f'<section id="{escape(key)}">\n<h2>{text(title)}</h2>\n{"".join(content)}\n</section>')


def heading(words: str) -> Markup:
    """A heading below that of a section."""
    return Markup(f"<h3>{text(words)}</h3>")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int = 1, wide: int | None = None) -> Markup:
    """A table that scrolls by itself where it is too wide; the first `texts` columns are left-aligned.

    `wide` is the column that may break its lines.
    """

    def kind(index: int) -> str:
        names = ["words"] if index == wide else [] if index < texts else ["number"]
        return f' class="{" ".join(names)}"' if names else ""

    head = "".join(f'<th scope="col"{kind(i)}>{text(name)}</th>' for i, name in enumerate(columns))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{text(cell)}</th>' if i == 0 else f"<td{kind(i)}>{text(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>\n"
        for row in rows
    )
    top = f"<thead><tr>{head}</tr></thead>\n" if any(columns) else ""
    return Markup(f'<div class="scroll" tabindex="0"><table>\n{top}<tbody>\n{body}</tbody></table></div>')


def pictures(drawn: Sequence[Picture | None], *, large: bool = False) -> Markup:
    """Pictures beside one another where there is room, at most two if `large`; those that are None are left out."""
    shown = [
        "<figure>"
        + (f'<figcaption class="title">{text(each.title)}</figcaption>' if each.title else "")
        + each.svg
        + (f"<figcaption>{text(each.caption)}</figcaption>" if each.caption else "")
        + "</figure>"
        for each in drawn
        if each is not None
    ]
    kind = "pictures large" if large else "pictures"
    return Markup(f'<div class="{kind}">{"".join(shown)}</div>' if shown else "")


def folded(title: str, content: Markup) -> Markup:
    """Content that opens on a click."""
    return Markup(f"<details><summary>{text(title)}</summary>{content}</details>")


def tiles(figures: Iterable[tuple[str, str, str]]) -> Markup:
    """The figures that are read first: name, value, and what belongs to it."""
    made = "".join(
        f'<div class="tile"><dt>{text(name)}</dt><dd>{text(value)}<small>{text(remark)}</small></dd></div>'
        for name, value, remark in figures
    )
    return Markup(f'<dl class="tiles">{made}</dl>' if made else "")


def facts(figures: Iterable[tuple[str, str]]) -> Markup:
    """Names with their values, in as many columns as there is room for."""
    made = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in figures)
    return Markup(f'<dl class="facts">{made}</dl>')


def beside(first: Markup, second: Markup) -> Markup:
    """Two pieces beside one another where there is room."""
    return Markup(f'<div class="beside">{first}{second}</div>')
