"""Parse TOML within limits of size and depth, since a file may be hostile; write TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from golf.errors import RecipeError

# The parser of the standard library is quadratic in the depth of dotted keys (40 kB of one key took 4.7 s and 1.5 GB)
# and recurses into arrays. A recipe has three levels and a few kilobytes.
MAX_BYTES = 64_000
MAX_DEPTH = 8

# Strings and comments as TOML delimits them, so that what they contain is not counted. A string without an end takes
# the rest of the text: the parser stops there too.
_TOKEN = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?"""(?:"{0,2})'
    r"|'''[\s\S]*?'''(?:'{0,2})"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|[\"'][\s\S]*"
    r"|#[^\n]*"
    r"|[\[\]{}.=,\n]"
)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def read_toml(content: bytes, *, source: str) -> dict[str, Any]:
    """Parse a TOML file; raises RecipeError, starting with `source`, for one too large, too deep or not TOML."""
    if len(content) > MAX_BYTES:
        raise RecipeError([f"{source}: more than {MAX_BYTES:,} bytes, which no recipe needs"])
    try:
        text = content.decode("utf-8-sig")  # some editors open a file with a byte order mark
    except UnicodeDecodeError as error:
        raise RecipeError([f"{source}: not UTF-8 text (byte {error.start})"]) from None
    if line := _too_deep(text):
        raise RecipeError([f"{source}: line {line}: nested more than {MAX_DEPTH} levels deep"])
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError([f"{source}: not valid TOML: {error}"]) from None
    except ValueError:  # Python's own limit, which the parser passes on as it is
        raise RecipeError([f"{source}: not valid TOML: a number has more than 4,300 digits"]) from None


def read_value(text: str) -> Any:
    """Parse `text` as one TOML value, else return it as it is: a path on a command line needs no quotes."""
    text = text.strip()
    try:
        document = read_toml(f"value = {text}".encode(errors="surrogateescape"), source="")
    except RecipeError:
        return text
    return document["value"] if len(document) == 1 else text


def write_toml(document: Mapping[str, Any]) -> str:
    """TOML of nested tables with bare keys; values are bool, int, float, str and flat lists of them.

    Law: `read_toml(write_toml(document).encode(), source="") == document`.
    """
    lines: list[str] = []
    _write_table(document, (), lines)
    return "\n".join(lines).strip() + "\n"


def show(value: object, *, limit: int = 60) -> str:
    """`value` in TOML's notation, on one line, safe for a terminal, shortened to about `limit` characters."""
    if isinstance(value, str):
        return quote(value if len(value) <= limit else value[: limit - 3] + "...")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, Mapping):
        return "a section"
    if isinstance(value, (list, tuple)):
        shown = f"[{', '.join(show(item, limit=limit) for item in value[:limit])}]"
        return shown if len(shown) <= limit else shown[: limit - 3] + "..."
    return "nothing" if value is None else str(value)


def printable(text: str, *, limit: int = 80) -> str:
    """`text` itself where it is printable and short, else quoted and shortened."""
    return text if text.isprintable() and len(text) <= limit else show(text, limit=limit)


def quote(text: str) -> str:
    """Write a TOML basic string; everything that does not print is escaped."""
    return f'"{"".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in text)}"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def _too_deep(text: str) -> int:
    """The line at which brackets or dotted keys nest more than MAX_DEPTH levels; 0 if there is none."""
    depth = dots = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth, dots = depth + 1, 0
            case "]" | "}":
                depth, dots = max(depth - 1, 0), 0
            case ".":
                dots += 1
            case "=" | "," | "\n":
                dots = 0
        if max(depth, dots) > MAX_DEPTH:
            return text.count("\n", 0, token.start()) + 1
    return 0


def _write_table(table: Mapping[str, Any], address: tuple[str, ...], lines: list[str]) -> None:
    if address:
        lines += ["", f"[{'.'.join(address)}]"]
    lines += [f"{key} = {_write_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _write_table(value, (*address, key), lines)


def _write_value(value: object) -> str:
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_write_value(item) for item in value)}]"
    return repr(value)
