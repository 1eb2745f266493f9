"""Checks of single JSON values: each returns the value with its type, or names the place that is wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from typing import Any

from golf.artifact.canonical import Json
from golf.errors import DamagedFile

PART = "manifest"
SHA256 = re.compile(r"[0-9a-f]{64}")
TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# These strings reach terminals.
PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]+")
MAX_TEXT = 200


def keys_of(record: type) -> frozenset[str]:
    """Name the keys of a dataclass's JSON: its fields."""
    return frozenset(field.name for field in dataclasses.fields(record))


def as_object(value: Any, where: str, *, keys: Collection[str] | None = None) -> dict[str, Json]:
    """Expect an object, with exactly these keys where they are given."""
    if not isinstance(value, dict):
        raise wrong(where, "an object", value)
    for missing in sorted(set(keys or ()) - value.keys()):
        raise DamagedFile(PART, f"{where} lacks the key {missing!r}")
    for unknown in sorted(value.keys() - set(keys)) if keys is not None else ():
        raise DamagedFile(PART, f"{where} has the unknown key {unknown[:40]!a}")
    return value


def as_list(value: Json, where: str) -> list[Json]:
    """Expect a list."""
    if not isinstance(value, list):
        raise wrong(where, "a list", value)
    return value


def as_integer(value: Json, where: str, lowest: int, highest: int) -> int:
    """Expect an integer of lowest ... highest, both included."""
    if type(value) is not int or not lowest <= value <= highest:  # `type`, since True is an int
        raise wrong(where, f"an integer of {lowest} to {highest}", value)
    return value


def as_number(value: Json, where: str) -> float:
    """Expect a number; canonical JSON has finite ones only."""
    if type(value) is int or type(value) is float:
        return value
    raise wrong(where, "a number", value)


def as_loss(value: Json, where: str) -> float:
    """Expect a number of 0 or more."""
    number = as_number(value, where)
    if number < 0:
        raise wrong(where, "at least 0", value)
    return number


def as_text(value: Json, where: str, pattern: re.Pattern[str] = PRINTABLE_ASCII) -> str:
    """Expect a string of 1 to 200 characters that matches the whole pattern."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not pattern.fullmatch(value):
        raise wrong(where, f"a string of at most {MAX_TEXT} characters that matches {pattern.pattern}", value)
    return value


def as_choice(value: Json, where: str, choices: tuple[str, ...]) -> str:
    """Expect one of these strings."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(where, " or ".join(choices), value)
    return value


def wrong(where: str, expected: str, value: object) -> DamagedFile:
    """Make the error for a value that is not what it must be; the value is quoted in ASCII and cut short."""
    return DamagedFile(PART, f"{where} must be {expected}, got {_quote(value)}")


def _quote(value: object) -> str:
    if isinstance(value, dict | list):  # not repr(): it may be megabytes
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    quoted = ascii(value[:40] if isinstance(value, str) else value)
    return quoted if len(quoted) <= 42 else quoted[:40] + "..."
