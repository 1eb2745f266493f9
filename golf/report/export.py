"""An export as a table."""

from __future__ import annotations

from rich.table import Table

from golf.contest.results import Exported, ExportedWeights
from golf.report.tables import percent, table


def export_table(result: Exported | ExportedWeights) -> Table:
    """Every file with its bytes, and the bytes that count against the cap."""
    made = table(f"exported {result.folder}", "", "")
    for name, size in result.files.items():
        made.add_row(name, f"{size:,} bytes")
    if isinstance(result, ExportedWeights):
        made.add_row("parameters", f"{result.parameters:,}")
        return made
    made.add_section()
    made.add_row("code, plain or compressed", f"{result.code_plain:,} or {result.code_compressed:,} bytes")
    made.add_row("code + artifact", f"{result.total:,} bytes, {percent(result.total, result.cap)} of {result.cap:,}")
    return made
