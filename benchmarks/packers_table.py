"""The packers' table in Markdown, means over training seeds, from the files that benchmarks.packers wrote.

    python -m benchmarks.packers_table FILE... [--plot FILE]

Checkpoints whose names differ in their last digits alone are seeds of one training. `bytes at equal gap` are golf's, on
the line between its measured points (logarithm of the gap against bytes), over the reference's. `above the limit` are
bits a weight of the whole file above the rate-distortion limit at the gap that was measured: rounding alone, and golf.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.packers_plot import family, plot

Row = dict[str, Any]


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
    curve = sorted((r["bytes"], r["gap"]) for r in rows if r["method"] == "golf" and r["gap"] > 0)
    for (b0, g0), (b1, g1) in pairwise(curve):
        if g1 <= gap <= g0 and g0 > g1:
            return b0 + (b1 - b0) * math.log(g0 / gap) / math.log(g0 / g1)
    return None


def above_limit(rows: list[Row], row: Row) -> float | None:
    """Bits a weight of `row` above those of the rate-distortion limit at its gap; None beyond the limit's ends."""
    curve = sorted((r["gap"], r["bits_per_weight"]) for r in rows if r["method"] == "limit")
    for (g0, b0), (g1, b1) in pairwise(curve):
        if g0 <= row["gap"] <= g1:
            return float(row["bits_per_weight"] - b0 - (b1 - b0) * math.log(row["gap"] / g0) / math.log(g1 / g0))
    return None


def line(seeds: list[list[Row]], rate: float) -> dict[str, float | None]:
    """Means over seeds at one rate."""
    found: dict[str, list[float]] = {}
    for rows in seeds:
        golf, plain = at(rows, "golf", rate), at(rows, "golf, rounding alone", rate)
        brotli = at(rows, "GPTQ int6 + brotli", rate)
        zpaq = next((r for r in rows if "ZPAQ" in r["method"] and brotli and r["gap"] == brotli["gap"]), None)
        if golf is None or plain is None:
            continue
        found.setdefault("rounding", []).append(plain["gap"])
        found.setdefault("golf", []).append(golf["gap"])
        for key, row in (("rounding above", plain), ("golf above", golf)):
            if (above := above_limit(rows, row)) is not None:
                found.setdefault(key, []).append(above)
        if brotli is not None:
            found.setdefault("gptq", []).append(brotli["gap"])
            if (size := bytes_at_gap(rows, brotli["gap"])) is not None:
                found.setdefault("bytes at equal gap", []).append(size / brotli["bytes"])
        if zpaq is not None and (same := equal_bytes(rows, zpaq)) is not None:
            found.setdefault("golf at ZPAQ's bytes", []).append(same["gap"])
    means: dict[str, float | None] = {key: statistics.fmean(values) for key, values in found.items()}
    means["seeds"] = len(found.get("golf", []))
    return means


def _show(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _over(a: float | None, b: float | None) -> str:
    return "-" if a is None or b is None else f"{a / b:.2f}"


def table(rows: list[Row]) -> list[str]:
    """Markdown lines."""
    head = (
        "checkpoint", "bits", "seeds", "GPTQ + brotli", "rounding", "golf", "golf / GPTQ", "golf / GPTQ, ZPAQ's bytes",
        "bytes at equal gap", "golf / rounding", "above the limit",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in sorted({family(r["checkpoint"]) for r in rows}):
        own = [r for r in rows if family(r["checkpoint"]) == name]
        seeds = [[r for r in own if r["checkpoint"] == seed] for seed in sorted({r["checkpoint"] for r in own})]
        for rate in rates(own):
            m = line(seeds, rate)
            gptq, golf, plain = m.get("gptq"), m.get("golf"), m.get("rounding")
            cells = (
                name, str(rate), str(m["seeds"]), _show(gptq), _show(plain), _show(golf), _over(golf, gptq),
                _over(m.get("golf at ZPAQ's bytes"), gptq), _show(m.get("bytes at equal gap"), 2), _over(golf, plain),
                f"{_show(m.get('rounding above'), 2)}, {_show(m.get('golf above'), 2)}",
            )  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    rows = [row for path in arguments.files for row in json.loads(path.read_text())["rows"]]
    print("\n".join(table(rows)))
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
