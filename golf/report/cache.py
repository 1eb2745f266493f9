"""The contents of the data cache as a table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from golf.report.tables import table

if TYPE_CHECKING:
    from golf.data.cache_contents import CacheEntry


def cache_table(cache: Path, entries: Sequence[CacheEntry]) -> Table:
    """One row per tokenizer and per tokenized text, and their sum."""
    made = table(f"cache {cache}", "", "key", "files", "bytes", "written", text_columns=2)
    for entry in entries:
        when = datetime.fromtimestamp(entry.modified).strftime("%Y-%m-%d %H:%M")
        made.add_row(entry.kind, entry.key, f"{len(entry.files):,}", f"{entry.bytes:,}", when)
    made.add_section()
    files, size = sum(len(entry.files) for entry in entries), sum(entry.bytes for entry in entries)
    made.add_row("all of it", "", f"{files:,}", f"{size:,}", "")
    return made
