"""How well random caps are met: `python -m bench.caps RUN [--out FILE] [--count 50]`.

Caps are drawn log-uniformly between the smallest reachable size and the roomy end. Every one must be met, never passed,
with at most .05 % (or 24 bytes, a coder's whole words) left over; the command ends with status 1 where one is not.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from experiments.opened import encoder_of, opened
from experiments.records import add_out_option, append, circumstances
from golf.packing.search import smallest_size


def main() -> None:
    """Draw, pack, hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    add_out_option(parser, None)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    packing = opened(arguments.run, ["verify.tokens=2048", *arguments.settings])
    encoder = encoder_of(packing)
    low, high = smallest_size(encoder) + 64, packing.best(encoder, 1 << 50).kept.solution.size
    rows = []
    for byte_budget in (
        np.exp(np.random.default_rng(0).uniform(np.log(low), np.log(high), arguments.count)).astype(int).tolist()
    ):
        started = time.monotonic()
        solution = packing.best(encoder, byte_budget).kept.solution
        left = byte_budget - solution.size
        met = 0 <= left <= max(0.0005 * byte_budget, 24)
        rows.append({"room": byte_budget, "left": left, "probes": solution.probes, "met": met})
        rows[-1]["seconds"] = round(time.monotonic() - started, 2)
        print(rows[-1], flush=True)
    if arguments.out:
        found = {"run": arguments.run.name, "smallest": low - 64, "roomy": high, "rows": rows}
        append(arguments.out, {"script": "caps"} | circumstances() | found)
    print(f"{sum(row['met'] for row in rows)} of {len(rows)} met")
    sys.exit(not all(row["met"] for row in rows))


if __name__ == "__main__":
    main()
