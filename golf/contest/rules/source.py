"""Extract a script's Python without running it: unpack self-extracting layers, find modules in strings."""

from __future__ import annotations

import ast
import base64
import binascii
import lzma
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

# A syntax tree takes some 900 bytes per byte of text. Scripts of the contest have under 200 kB, golf's own 620 kB,
# which counts twice, as the script and as its modules.
MAX_TEXT = 1_600_000
_MAX_LAYERS = 4
# Most strings that are tried for programs, and the shortest that could hold one.
_MAX_TRIES = 400
_SHORTEST = 200


@dataclass(frozen=True)
class Module:
    """One Python source and its place: the script itself, a layer of it, or a module in a string.

    `hidden`: it executes something that could not be opened.
    """

    name: str
    text: str
    tree: ast.Module
    hidden: bool


@dataclass
class _Budget:
    """The remaining limits for one script, over all its layers."""

    text: int = MAX_TEXT
    tries: int = _MAX_TRIES
    found: list[Module] = field(default_factory=list)


def read_script(text: str, name: str = "train_gpt.py") -> list[Module]:
    """The script and every Python source inside it, within limits; raises SyntaxError or ValueError for no Python."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"it has {len(text):,} characters; {MAX_TEXT:,} are looked into")
    budget = _Budget()
    _open(text, name, 0, budget)
    return budget.found


def _open(text: str, name: str, depth: int, budget: _Budget) -> None:
    """Parse a source, and the sources inside it, into `budget.found`."""
    budget.text -= len(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about invalid escapes in the script do not matter
        tree = ast.parse(text)
    place = len(budget.found)
    budget.found.append(Module(name, text, tree, hidden=_executes(tree)))
    opened = 0
    for label, inner in _carried(tree, name, budget) if depth < _MAX_LAYERS else ():
        if len(inner) > budget.text:
            continue
        try:
            _open(inner, label, depth + 1, budget)
            opened += 1
        except (SyntaxError, ValueError, RecursionError):
            continue
    if opened:
        budget.found[place] = Module(name, text, tree, hidden=False)


def _executes(tree: ast.Module) -> bool:
    """Whether a module executes Python code that is not in its source."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return any(c.func.id in ("exec", "eval") and c.args and not isinstance(c.args[0], ast.Constant) for c in calls)  # type: ignore[attr-defined]


def _carried(tree: ast.Module, name: str, budget: _Budget) -> Iterator[tuple[str, str]]:
    """Strings of a module that hold programs, compressed or plain."""
    names = _subscripts(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, bytes)):
            continue
        if len(node.value) < _SHORTEST or budget.tries <= 0:
            continue
        budget.tries -= 1
        if isinstance(node.value, str) and ("import " in node.value or "def " in node.value):
            yield names.get(id(node), f"{name}:{node.lineno}"), node.value
        elif (packed := _unpacked(node.value, budget.text)) is not None:
            yield f"{name}:{node.lineno} (unpacked)", packed


def _subscripts(tree: ast.Module) -> dict[int, str]:
    """Names of constants that are stored as `SOMETHING["name"] = constant`."""
    names: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                names[id(node.value)] = key.value
    return names


def _unpacked(value: str | bytes, limit: int) -> str | None:
    """The text, of at most `limit` bytes, in a base85, base64 or bare compressed string; None where there is none."""
    content = value.encode("latin-1", errors="ignore") if isinstance(value, str) else value
    for decode in (base64.b85decode, _base64, base64.a85decode, bytes):
        try:
            raw = decode(content)
        except (ValueError, binascii.Error):
            continue
        for decompressor in _decompressors():
            try:
                text = decompressor.decompress(raw, max(limit, 1)).decode()
            except (lzma.LZMAError, zlib.error, EOFError, ValueError):
                continue
            if decompressor.eof and text.strip():
                return text
    return None


def _decompressors() -> Iterator[lzma.LZMADecompressor | zlib._Decompress]:
    """Yield decompressors for the formats of submissions; raw LZMA2 is the most frequent."""
    yield lzma.LZMADecompressor(memlimit=1 << 28)
    yield lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])
    yield zlib.decompressobj()
    yield zlib.decompressobj(wbits=31)


def _base64(content: bytes) -> bytes:
    return base64.b64decode(content, validate=True)
