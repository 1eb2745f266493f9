"""Opening ten billion tokens: 100 shards of 100 million, and the first batch of a training from them.

    python -m experiments.open_shards.run [--out FILE] [--shards 100] [--tokens 100000000] [--turns 5]

The files have their real sizes and headers and no content (sparse files of zeros), in a temporary folder: opening
reads headers, not tokens. What is timed is what a training does: golf's `prepare`, then the contest's first batch of
windows, from anywhere. Medians of turns, and the first one apart, in which nothing of the files is in memory.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.records import add_out_option, append, circumstances
from golf.data import Batches, prepare
from golf.data.shards import HEADER_BYTES, MAGIC, TOKEN_BYTES, VERSION
from golf.recipe import Data, Tokenizer

RESULTS = Path(__file__).with_name("results.jsonl")
BAR_SECONDS = 1.0
# The contest's step.
BATCH_TOKENS, SEQUENCE_LENGTH = 524_288, 1024


def lay_out(folder: Path, *, shards: int, tokens: int) -> None:
    """Sparse shards of the contest's names: one validates, the others train."""
    for index in range(shards):
        name = f"fineweb_train_{index - 1:06d}.bin" if index else "fineweb_val_000000.bin"
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<3i", MAGIC, VERSION, tokens).ljust(HEADER_BYTES, b"\0"))
            file.truncate(HEADER_BYTES + TOKEN_BYTES * tokens)


def measure(folder: Path, *, turns: int) -> dict[str, Any]:
    """Seconds to open, and from then to the first batch; the first turn and the median of the others."""
    opened, batched = [], []
    for _ in range(turns + 1):
        started = time.perf_counter()
        data = prepare(Data(source="shards", path=str(folder)), Tokenizer(kind="bytes"), cache=folder / "cache")
        opened.append(time.perf_counter() - started)
        batches = Batches(data.train, batch_tokens=BATCH_TOKENS, sequence_length=SEQUENCE_LENGTH, seed=0)
        batches.batch(0)
        batched.append(time.perf_counter() - started - opened[-1])
    return {
        "tokens": len(data.train) + len(data.val),
        "first_open_s": opened[0],
        "open_s": statistics.median(opened[1:]),
        "first_batch_s": batched[0],
        "batch_s": statistics.median(batched[1:]),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, RESULTS)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=100_000_000)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lay_out(Path(folder), shards=arguments.shards, tokens=arguments.tokens)
        found = measure(Path(folder), turns=arguments.turns)
    print(
        f"{found['tokens']:,} tokens in {arguments.shards} shards: opened in {found['open_s']:.4f} s "
        f"(first time {found['first_open_s']:.4f}), first batch {found['batch_s']:.4f} s more "
        f"({found['first_batch_s']:.4f}); bar {BAR_SECONDS} s"
    )
    append(arguments.out, circumstances() | {"shards": arguments.shards, "bar_seconds": BAR_SECONDS} | found)


if __name__ == "__main__":
    main()
