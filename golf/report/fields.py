"""Values of a JSON file that somebody may have changed, checked as they are read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from golf.errors import DamagedFile, EnvironmentFailure
from golf.runtime.regular import regular

# No count, loss or rate of a run is larger; a picture's arithmetic would not hold numbers near float's own limit.
_MOST = 1e30


@dataclass(frozen=True)
class Fields:
    """One JSON object of the file `source`. A key that is missing or null gives None: older releases wrote fewer."""

    values: dict[str, Any]
    source: str

    def number(self, key: str) -> float | None:
        """A number; raises DamagedFile for anything else. One that is not finite is None, as golf writes it."""
        value = self.values.get(key)
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > _MOST:
            raise self.wrong(key, "a number")
        return value

    def count(self, key: str) -> int | None:
        """A whole number of 0 or more."""
        value = self.number(key)
        if value is None:
            return None
        if not isinstance(value, int) or value < 0:
            raise self.wrong(key, "a whole number of 0 or more")
        return value

    def text(self, key: str) -> str | None:
        """A string."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def object(self, key: str) -> Self:
        """An object, empty where it is missing."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return type(self)(value or {}, f"{self.source}: {key}")

    def objects(self, key: str) -> list[Self]:
        """A list of objects, empty where it is missing."""
        value = self.values.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
            raise self.wrong(key, "a list of objects")
        return [type(self)(each, f"{self.source}: {key} {index}") for index, each in enumerate(value or [])]

    def numbers(self, key: str) -> dict[str, float]:
        """An object of numbers; those that are null are left out."""
        found = self.object(key)
        return {name: value for name in found.values if (value := found.number(name)) is not None}

    def wrong(self, key: str, expected: str) -> DamagedFile:
        """The error for a value that is not what golf writes."""
        return DamagedFile(self.source, f"{key[:60]!a} is not {expected}")


def read_fields(path: Path) -> Fields | None:
    """The JSON object in a file, None where there is no file; raises DamagedFile for anything else in it."""
    try:
        found = json.loads(regular(path).read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        raise DamagedFile(str(path), "is not JSON; make it again with golf train or golf pack") from None
    if not isinstance(found, dict):
        raise DamagedFile(str(path), "is no JSON object; make it again with golf train or golf pack")
    return Fields(found, str(path))
