"""The Python of a script, without running it: self-extracting layers are opened, modules in strings are found."""

from __future__ import annotations

import ast
import base64
import binascii
import gzip
import io
import lzma
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# A script of 16 MB can unpack to more than anybody reads; bounds on what is opened, and how deep.
_MAX_TEXT = 32 << 20
_MAX_LAYERS = 4
# A string shorter than this holds no packed program.
_SHORTEST = 200


@dataclass(frozen=True)
class Module:
    """One piece of Python and where it stands: the script itself, a layer of it, or a module in a string."""

    name: str
    text: str
    tree: ast.Module


def read_script(text: str, name: str = "train_gpt.py") -> list[Module]:
    """The script and every Python text that it carries; raises SyntaxError or ValueError where it is no Python."""
    return list(_opened(text, name, 0))


def _opened(text: str, name: str, depth: int) -> Iterator[Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stranger's invalid escapes are no news
        module = Module(name, text, ast.parse(text))
    yield module
    if depth >= _MAX_LAYERS:
        return
    for label, inner in _carried(module):
        try:
            yield from _opened(inner, label, depth + 1)
        except (SyntaxError, ValueError, RecursionError):
            continue


def _carried(module: Module) -> Iterator[tuple[str, str]]:
    """Strings of a module that hold programs: packed ones, and modules in the open."""
    names = _subscripts(module.tree)
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, bytes)):
            continue
        if len(node.value) < _SHORTEST:
            continue
        if (packed := _unpacked(node.value)) is not None:
            yield f"{module.name}:{node.lineno} (unpacked)", packed
        elif isinstance(node.value, str) and ("import " in node.value or "def " in node.value):
            yield names.get(id(node), f"{module.name}:{node.lineno}"), node.value


def _subscripts(tree: ast.Module) -> dict[int, str]:
    """Names of constants that are stored as `SOMETHING["name"] = constant`."""
    names: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
            key = node.targets[0].slice
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                names[id(node.value)] = key.value
    return names


def _unpacked(value: str | bytes) -> str | None:
    """The text in a base85, base64 or bare compressed string; None where there is none."""
    content = value.encode("latin-1", errors="ignore") if isinstance(value, str) else value
    for decode in (base64.b85decode, _base64, base64.a85decode, lambda raw: raw):
        try:
            raw = decode(content)
        except (ValueError, binascii.Error):
            continue
        for unpack in (_lzma, _zlib, _gzip):
            try:
                text = unpack(raw).decode()
            except (lzma.LZMAError, zlib.error, OSError, EOFError, ValueError):
                continue
            if text.strip():
                return text
    return None


def _base64(content: bytes) -> bytes:
    return base64.b64decode(content, validate=True)


def _lzma(raw: bytes) -> bytes:
    return _limited(lzma.LZMADecompressor(memlimit=1 << 30).decompress, raw)


def _zlib(raw: bytes) -> bytes:
    return zlib.decompressobj().decompress(raw, _MAX_TEXT)


def _gzip(raw: bytes) -> bytes:
    with gzip.open(io.BytesIO(raw)) as file:
        return file.read(_MAX_TEXT)


def _limited(decompress: Callable[[bytes, int], bytes], raw: bytes) -> bytes:
    return decompress(raw, _MAX_TEXT)
