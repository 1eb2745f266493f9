"""The table of README.md in Markdown: `python -m experiments.options.table [FILE...]`.

Differences to the plain model of the same seed, means ± standard error over seeds, best option first.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from experiments.estimates import mean_and_error
from experiments.markdown import markdown
from experiments.records import Record, print_tables


def tables(rows: list[Record]) -> list[str]:
    """One line an option."""
    plain = {row["seed"]: row for row in rows if row["option"] == "plain"}
    lines = []
    for option in dict.fromkeys(row["option"] for row in rows):
        own = [row for row in rows if row["option"] == option and row["seed"] in plain]
        if own:
            gaps = [row["loss"] - plain[row["seed"]]["loss"] for row in own]
            loss = f"{statistics.fmean(row['loss'] for row in own):.4f}"
            compared = "" if option == "plain" else mean_and_error(gaps, sign="+")
            cells = [option, f"{own[0]['parameters']:,}", loss, compared, str(len(own))]
            lines.append((statistics.fmean(gaps), cells))
    head = ("option", "parameters", "nats per token", "against plain", "seeds")
    return markdown(head, (cells for _, cells in sorted(lines)))


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
