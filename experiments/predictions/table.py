"""The table of README.md in Markdown: `python -m experiments.predictions.table [FILE...]`."""

from __future__ import annotations

from pathlib import Path

from experiments.markdown import markdown
from experiments.records import Record, latest, print_tables


def tables(records: list[Record]) -> list[str]:
    """One line a checkpoint and cap, of the last measurement of each."""
    lines = [
        (
            row["checkpoint"],
            row["share"],
            f"{row['cap']:,}",
            f"{row['predicted']:,}",
            f"{row['packed']:,}",
            f"{row['error']:+.2%}",
        )
        for row in latest(records, "checkpoint", "share")
    ]
    head = ("checkpoint", "cap over the size that pays", "cap", "predicted", "packed by rounding", "error")
    return markdown(head, lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
