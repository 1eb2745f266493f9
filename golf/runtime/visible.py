"""Text of a stranger's, such as a name in an artifact, as a terminal may show it."""

from __future__ import annotations


def visible(text: str, *, lines: bool = False) -> str:
    """`text` with `?` for every character that is not printable: control characters, escapes, bidirectional marks.

    Newlines stay where `lines` says so; elsewhere they are replaced too, since a name with one in it could write a line
    of its own.
    """
    return "".join(c if c.isprintable() or (lines and c == "\n") else "?" for c in text)
