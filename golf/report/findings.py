"""A checked submission as a table."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table
from rich.text import Text

from golf.contest.rules import Finding, Profile
from golf.report.tables import table

_STYLES = {"PASS": "green", "FAIL": "bold red", "CANNOT TELL": "yellow"}


def findings_table(folder: Path, findings: list[Finding], profile: Profile) -> Table:
    """One row per rule, with the evidence."""
    counts = {state: sum(finding.state == state for finding in findings) for state in _STYLES}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    made = table(f"checked {folder} ({profile}): {said}", "rule", "", "evidence", text_columns=3)
    for finding in findings:
        made.add_row(finding.rule, Text(finding.state, style=_STYLES[finding.state]), finding.evidence)
    return made
