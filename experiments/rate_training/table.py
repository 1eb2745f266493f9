"""The tables of README.md in Markdown: `python -m experiments.rate_training.table [FILE...]`."""

from __future__ import annotations

import statistics
from pathlib import Path

from experiments.estimates import mean_and_error
from experiments.markdown import markdown
from experiments.records import Record, latest, print_tables


def tables(rows: list[Record]) -> list[str]:
    """One line an optimizer, length and strength; the best strength of each cap in bold, on common seeds."""
    rows = latest(rows, "key")
    caps = sorted({row["cap"] for row in rows})
    lines = []
    for series in dict.fromkeys(_series(row) for row in rows):
        own = [row for row in rows if _series(row) == series]
        best = {cap: _best(own, cap) for cap in caps}
        for strength in sorted({row["strength"] for row in own}, key=lambda each: (each == "auto", each)):
            some = [row for row in own if row["strength"] == strength]
            floats = {row["seed"]: row["float_loss"] for row in some}
            cells = [_cell(some, cap, bold=best[cap] == strength) for cap in caps]
            loss = "" if strength == "auto" else mean_and_error(list(floats.values()))
            lines.append([*series, strength, str(len(floats)), loss, *cells])
    head = ("optimizer", "tokens a parameter", "strength", "seeds", "float", *(f"{cap:,} bytes" for cap in caps))
    return markdown(head, lines)


def _series(row: Record) -> tuple[str, str]:
    pairs = (setting.split("=", 1) for setting in row["settings"])
    settings = "".join(f", {key.rpartition('.')[2]} {value}" for key, value in pairs)
    pack = ", as shipped" if row.get("pack") == "shipped" else ""
    return row["optimizer"] + settings + pack, f"{row['tokens_a_parameter']:g}"


def _best(rows: list[Record], cap: int) -> str:
    """The strength of least loss on the seeds that all strengths have; empty where there is only one strength."""
    losses: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["cap"] == cap:
            losses.setdefault(row["strength"], {})[row["seed"]] = row["loss"]
    common = set.intersection(*map(set, losses.values())) if len(losses) > 1 else set()
    if not common:
        return ""
    return min(losses, key=lambda each: statistics.fmean(losses[each][seed] for seed in common))


def _cell(rows: list[Record], cap: int, *, bold: bool) -> str:
    losses = [row["loss"] for row in rows if row["cap"] == cap]
    text = mean_and_error(losses) if losses else ""
    return f"**{text}**" if bold and losses else text


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
