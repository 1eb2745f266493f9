"""Text of a stranger's, such as a name in an artifact, as a terminal may show it."""

from __future__ import annotations

import unicodedata

# Control characters, surrogates, line and paragraph separators; and the marks that turn the direction of writing.
_HIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str, *, lines: bool = False) -> str:
    """`text` with `?` for control characters, escapes, separators of lines, and marks of bidirectional writing.

    Newlines stay where `lines` says so; elsewhere they are replaced too, since a name with one in it could write a line
    of its own.
    """
    return "".join("?" if _hides(c) and not (lines and c == "\n") else c for c in text)


def _hides(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN or char in _BIDIRECTIONAL
