"""The table of README.md in Markdown, of the last lines: `python -m experiments.processes.table [FILE...]`."""

from __future__ import annotations

from pathlib import Path

from experiments.markdown import markdown
from experiments.records import Record, latest, print_tables


def tables(records: list[Record]) -> list[str]:
    """One line a number of processes."""
    lines = [
        (
            row["recipe"],
            row["steps"],
            row["processes"],
            f"{row['val_loss']:.4f}",
            f"{row['largest_difference']:.4f}",
            f"{row['tokens_per_s']:,}",
        )
        for row in latest(records, "recipe", "steps", "processes")
    ]
    head = (
        "recipe", "steps", "processes", "validation, nats per token", "training losses' largest difference",
        "tokens a second",
    )  # fmt: skip
    return markdown(head, lines)


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
