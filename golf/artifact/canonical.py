"""Canonical JSON: every value has one spelling, and a reader accepts no other.

Sorted keys, no white space, UTF-8, no NaN or infinity, integers within 64 bits, floats with the fewest digits that
read back equal. Depth and number of values are bounded before the text is parsed.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import NoReturn, TypeAlias

from golf.errors import DamagedFile

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# The manifest itself needs 5 levels. A recursive parser without a bound ends the process, not just the parsing.
MAX_DEPTH = 16
# The widest recipe (256 layers) needs about 100,000; 8 MiB of `{},` would take 180 MB as Python objects.
MAX_VALUES = 1 << 18
# Key and value of every pair, at most: more quotes than that only make the search for strings slow (2 s for 8 MiB).
MAX_QUOTES = 4 * MAX_VALUES
MAX_INTEGER = (1 << 63) - 1
_MAX_DIGITS = len(str(-MAX_INTEGER))
_MAX_FLOAT_DIGITS = len("-1.7976931348623157e+308")
# A string, or all that follows an unpaired quote: every start of a match succeeds, which keeps the scan linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))


def encode_canonical(value: object) -> bytes:
    """Spell a value built of dict, list, tuple, str, int, float, bool and None in the only way allowed.

    Raises ValueError for NaN, infinities and lone surrogates, TypeError for any other type.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def decode_canonical(text: bytes, *, part: str) -> Json:
    """Inverse of `encode_canonical`; raises DamagedFile naming `part` for everything that it would not have written.

    Law: encode_canonical(decode_canonical(t)) == t for every t that is accepted.
    """
    try:
        _check_bounds(text)
        value: Json = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_finite,
        )
        spelling = encode_canonical(value)
    except UnicodeError as error:  # undecodable bytes, or an escaped half of a surrogate pair
        raise DamagedFile(part, "the text is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise DamagedFile(part, f"not JSON ({error.msg} at character {error.pos})") from error
    except ValueError as error:
        raise DamagedFile(part, str(error)) from error
    if spelling != text:
        raise DamagedFile(part, "not canonical JSON (sorted keys, no spaces, shortest numbers, no needless escapes)")
    return value


def _check_bounds(text: bytes) -> None:
    """Raise ValueError when the text, strings aside, nests too deep or holds too many values."""
    if text.count(b'"') > MAX_QUOTES:
        raise ValueError(f"more than {MAX_QUOTES:,} quotation marks")
    structure = _STRING.sub(b"", text).translate(None, _NOT_STRUCTURE)
    if structure.count(b",") + structure.count(b"[") + structure.count(b"{") >= MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    brackets = structure.translate(_BRACKETS, b",")
    for _ in range(MAX_DEPTH):  # each round takes the innermost pairs away
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise ValueError(f"nested more than {MAX_DEPTH} levels deep, or with unpaired brackets")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"key {key[:40]!a} appears twice")
    return unique


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS or abs(int(digits)) > MAX_INTEGER:
        raise ValueError("an integer has more than 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits) if len(digits) <= _MAX_FLOAT_DIGITS else math.inf
    if not math.isfinite(number):
        raise ValueError("a number is no float64 in its shortest spelling")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
