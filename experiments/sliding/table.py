"""The table of README.md in Markdown, of the last lines: `python -m experiments.sliding.table [FILE...]`."""

from __future__ import annotations

from pathlib import Path

from experiments.markdown import markdown
from experiments.records import Record, latest, print_tables


def tables(records: list[Record]) -> list[str]:
    """One line a recipe."""
    lines = [
        (
            row["recipe"],
            row["window"],
            row["stride"],
            f"{row['sliding_tokens_per_s']:,}",
            f"{row['bare_tokens_per_s']:,}",
            f"{row['ratio']:.2f} ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f})",
            row["bar"],
        )
        for row in latest(records, "recipe", "stride")
    ]
    head = ("recipe", "window", "stride", "sliding, tokens/s", "forward pass alone", "ratio (quartiles)", "bar")
    return markdown(head, lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
