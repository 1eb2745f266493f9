"""Results as JSON: paths become text, numbers that are not finite become null."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any


def to_json(value: Any) -> dict[str, Any]:
    """A result as a JSON object; paths become text."""
    return {k: _plain(v) for k, v in asdict(value).items()}


def finite(value: Any) -> Any:
    """A JSON value with null for every number that is not finite: JSON knows none."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(value: dict[str, Any]) -> str:
    """`value` as indented JSON with a final newline."""
    return json.dumps(finite(value), indent=2, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
