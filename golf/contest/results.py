"""Results of exports, as plain values for tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Exported:
    """A submission's folder; bytes by file, and of the script in both its forms. `total` counts against `cap`."""

    folder: Path
    files: dict[str, int]
    code_plain: int
    code_compressed: int
    total: int
    cap: int


@dataclass(frozen=True)
class ExportedWeights:
    """Decoded weights for other tools; bytes by file."""

    folder: Path
    files: dict[str, int]
    parameters: int
