"""A matplotlib figure as SVG that stands inside a page: its colours follow the page, its ids are its own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawn in this colour is what has the colour of the page's text, light or dark.
INK = "#010203"
# A grey that is seen on white and on black.
FAINT = "#8a8f98"
# Points. A page of 400 pixels shows one such picture, a wide page three in a row, both at about its own size.
WIDTH = 380

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's own font
    "text.parse_math": False,  # names come from files; a `$` in one is no formula
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "axes.labelpad": 6,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "axes.formatter.useoffset": False,
}


@contextmanager
def style(key: str) -> Iterator[None]:
    """The look of all pictures; `key` is the picture's name within the page. Figure and `as_svg` belong inside."""
    from matplotlib import rc_context

    with rc_context({**_STYLE, "svg.hashsalt": key}):
        yield


def new_figure(height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure of the common width and this height, both in points."""
    from matplotlib.figure import Figure  # no global state, no window

    return Figure(figsize=(WIDTH / 72, height / 72), layout=layout)


def as_svg(figure: Figure, key: str, *, title: str) -> str:
    """The figure as an <svg> element; `title` is what a screen reader says."""
    content = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(content, format="svg", metadata=nothing)
    drawn = content.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    # a style of its own would hold for the whole page
    drawn = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<defs>\s*</defs>|<!--.*?-->", "", drawn, flags=re.S)
    drawn = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", drawn)
    drawn = drawn.replace("xlink:href", "href").replace(INK, "currentColor")
    drawn = re.sub(r'\bid="', f'id="{key}-', drawn)
    drawn = re.sub(r'(href="|url\()#', rf"\1#{key}-", drawn)
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', rf'<svg \1 role="img" aria-label="{escape(title)}">', drawn, count=1
    )


def plain(text: str, limit: int = 28) -> str:
    """Text of a file's as a picture may show it: in letters that its fonts have, and short."""
    shown = "".join(c if " " <= c <= "~" else "?" for c in text)
    shown = shown if len(shown) <= limit else shown[: limit - 3] + "..."
    return f" {shown}" if shown.startswith("_") else shown  # matplotlib hides labels that begin so
