"""The table of README.md in Markdown, means over training seeds.

    python -m experiments.packers.table [FILE...] [--plot FILE]

Checkpoints whose names differ in their last digits alone are seeds of one training; ratios are means of the seeds' own,
± their standard error. `bytes at equal gap` are golf's, on the line between its measured points (logarithm of the gap
against bytes), over the reference's. `above the limit` are bits a weight of the whole file above the rate-distortion
limit at the gap that was measured: rounding alone, and golf.
"""

from __future__ import annotations

import argparse
import math
import statistics
from itertools import pairwise
from pathlib import Path

from experiments.markdown import markdown
from experiments.packers.plot import family, plot
from experiments.records import Record, read

Row = Record


def rows_of(records: list[Record]) -> list[Row]:
    """Every pack of every line, each with its checkpoint."""
    return [{"checkpoint": record["checkpoint"]} | row for record in records for row in record["rows"]]


def rates(rows: list[Row]) -> list[float]:
    """Rates, to a tenth of a bit, at which rounding alone was measured."""
    return sorted({round(r["bits_per_weight"], 1) for r in rows if r["method"] == "golf, rounding alone"}, reverse=True)


def at(rows: list[Row], method: str, rate: float) -> Row | None:
    """The row of `method` nearest above or below `rate`, within a twentieth of a bit."""
    near = [r for r in rows if r["method"].startswith(method) and abs(r["bits_per_weight"] - rate) < 0.05]
    exact = [r for r in near if method != "golf" or r["method"] == "golf"]
    return max(exact, key=lambda r: r["bytes"], default=None)


def equal_bytes(rows: list[Row], target: Row) -> Row | None:
    """golf's pack of exactly those bytes or at most .05 % fewer."""
    own = [r for r in rows if r["method"] == "golf" and 0 <= target["bytes"] - r["bytes"] <= 1e-3 * target["bytes"]]
    return max(own, key=lambda r: r["bytes"], default=None)


def bytes_at_gap(rows: list[Row], gap: float) -> float | None:
    """Bytes at which golf's curve has this gap; None beyond its ends."""
    curve = sorted({(r["bytes"], r["gap"]) for r in rows if r["method"] == "golf" and r["gap"] > 0})
    for (b0, g0), (b1, g1) in pairwise(curve):
        if g1 <= gap <= g0 and g0 > g1:
            return b0 + (b1 - b0) * math.log(g0 / gap) / math.log(g0 / g1)
    return None


def above_limit(rows: list[Row], row: Row) -> float | None:
    """Bits a weight of `row` above those of the rate-distortion limit at its gap; None beyond the limit's ends."""
    curve = sorted({(r["gap"], r["bits_per_weight"]) for r in rows if r["method"] == "limit"})
    for (g0, b0), (g1, b1) in pairwise(curve):
        if g0 <= row["gap"] <= g1:
            return float(row["bits_per_weight"] - b0 - (b1 - b0) * math.log(row["gap"] / g0) / math.log(g1 / g0))
    return None


def line(seeds: list[list[Row]], rate: float) -> dict[str, list[float]]:
    """What each seed says at one rate: gaps, ratios of gaps, bits."""
    found: dict[str, list[float]] = {}

    def add(key: str, value: float | None) -> None:
        if value is not None:
            found.setdefault(key, []).append(value)

    for rows in seeds:
        golf, plain = at(rows, "golf", rate), at(rows, "golf, rounding alone", rate)
        if golf is None or plain is None:
            continue
        add("rounding", plain["gap"])
        add("golf", golf["gap"])
        add("golf / rounding", golf["gap"] / plain["gap"])
        add("rounding above", above_limit(rows, plain))
        add("golf above", above_limit(rows, golf))
        brotli = at(rows, "GPTQ int6 + brotli", rate)
        if brotli is None:
            continue
        add("GPTQ", brotli["gap"])
        add("golf / GPTQ", golf["gap"] / brotli["gap"])
        size = bytes_at_gap(rows, brotli["gap"])
        add("bytes", None if size is None else size / brotli["bytes"])
        zpaq = next((r for r in rows if "ZPAQ" in r["method"] and r["gap"] == brotli["gap"]), None)
        same = None if zpaq is None else equal_bytes(rows, zpaq)
        add("golf / ZPAQ", None if same is None else same["gap"] / brotli["gap"])
    return found


def _mean(values: list[float] | None, digits: int) -> str:
    """The mean, with its standard error where there are several."""
    if not values:
        return "-"
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{error}"


def tables(records: list[Record]) -> list[str]:
    """Markdown lines."""
    rows = rows_of(records)
    head = (
        "checkpoint", "bits", "seeds", "GPTQ + brotli", "rounding", "golf", "golf / GPTQ", "golf / GPTQ, ZPAQ's bytes",
        "bytes at equal gap", "golf / rounding", "above the limit",
    )  # fmt: skip
    lines = []
    for name in sorted({family(r["checkpoint"]) for r in rows}):
        own = [r for r in rows if family(r["checkpoint"]) == name]
        seeds = [[r for r in own if r["checkpoint"] == seed] for seed in sorted({r["checkpoint"] for r in own})]
        for rate in rates(own):
            found = line(seeds, rate)
            gaps = [_mean(found.get(key), 4).partition(" ")[0] for key in ("GPTQ", "rounding", "golf")]
            ratios = [_mean(found.get(k), 2) for k in ("golf / GPTQ", "golf / ZPAQ", "bytes", "golf / rounding")]
            above = ", ".join(_mean(found.get(key), 2).partition(" ")[0] for key in ("rounding above", "golf above"))
            lines.append((name, rate, len(found.get("golf", [])), *gaps, *ratios, above))
    return markdown(head, lines)


def main() -> None:
    """Read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).with_name("results.jsonl")
    parser.add_argument("files", nargs="*", type=Path, default=[default], help=f"default: {default.name} beside it")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    records = [record for path in arguments.files for record in read(path)]
    print("\n".join(tables(records)))
    if arguments.plot:
        plot(rows_of(records), arguments.plot)


if __name__ == "__main__":
    main()
