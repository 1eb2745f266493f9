"""The table of README.md in Markdown: `python -m experiments.methods.table [FILE...]`."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.estimates import mean_and_error
from experiments.markdown import markdown
from experiments.records import Record, print_tables

METHODS = (
    "uniform",
    "uniform + fine-tuning",
    "trellis",
    "uniform + low rank",
    "trellis + low rank",
)


def tables(records: list[Record]) -> list[str]:
    """One line a kind of checkpoint and rate: losses over the float model's on validation text, over seeds."""
    groups: dict[tuple[str, float, float], list[Record]] = {}
    for row in records:
        kind = re.sub(r"-\d+$", "", row["checkpoint"])
        groups.setdefault((kind, row["tokens_a_parameter"], row["bits"]), []).append(row)
    lines = [
        [*key, len({row["checkpoint"] for row in rows}), *_cells(rows), _chosen(rows)]
        for key, rows in sorted(groups.items())
    ]
    head = ("checkpoint", "tokens a parameter", "bits", "seeds", *METHODS, "a pack tries")
    return markdown(head, lines)


def _cells(rows: list[Record]) -> list[str]:
    """The mean of each method; the least one in bold."""
    losses = {m: [row["loss"] - row["float_loss"] for row in rows if row["method"] == m] for m in METHODS}
    means = {method: sum(each) / len(each) for method, each in losses.items() if each}
    best = min(means, key=means.__getitem__)
    cells = {method: mean_and_error(each, sign="+") if each else "" for method, each in losses.items()}
    return [f"**{cell}**" if method == best else cell for method, cell in cells.items()]


def _chosen(rows: list[Record]) -> str:
    """Methods that `golf.packing.methods` names for every one of these packs."""
    return ", ".join(m for m in METHODS if any(row["method"] == m and row["tried"] for row in rows))


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
