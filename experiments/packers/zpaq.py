"""ZPAQ, by lrzip."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path


def zpaq_size(content: bytes) -> int:
    """Bytes that `lrzip -z` makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "symbols", Path(folder) / "symbols.lrz"
        source.write_bytes(content)
        subprocess.run(["lrzip", "-z", "-L9", "-q", "-o", str(target), str(source)], check=True, capture_output=True)
        return target.stat().st_size
