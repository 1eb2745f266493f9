"""The table of README.md in Markdown, of the last lines: `python -m experiments.open_shards.table [FILE...]`."""

from __future__ import annotations

from pathlib import Path

from experiments.markdown import markdown
from experiments.records import Record, latest, print_tables


def tables(records: list[Record]) -> list[str]:
    """One line a number of shards and tokens."""
    lines = [
        (
            f"{row['tokens']:,}",
            row["shards"],
            *(f"{row[key]:.4f}" for key in ("first_open_s", "open_s", "first_batch_s", "batch_s")),
            row["bar_seconds"],
        )
        for row in latest(records, "tokens", "shards")
    ]
    head = (
        "tokens", "shards", "first opening, s", "later ones, s", "first batch after it, s", "later ones, s",
        "bar for opening, s",
    )  # fmt: skip
    return markdown(head, lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
