"""Files that ask for much: `python -m bench.bombs [--count 200] [--seed 0] [--out FILE]` (about 20 minutes).

Random shapes of models in sound files of at most 64 kB, many at the edge of what is allowed. Each is verified in a
process of its own, and must be refused within 2 s (with its text, 30) or done within 30 s and 300 MB above what an
ordinary file takes.
The first that breaks this ends the run with status 1. Seconds are those beyond starting the process.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.records import add_out_option, append, circumstances
from golf.artifact.layout import Limits
from golf.data import load_tokenizer
from golf.errors import UsageError
from tests.cheats import artifact

REFUSED_S, DONE_S, MOST_MEMORY = 2.0, 30.0, 300 << 20
_TEXT_BYTES = 1 << 20
# golf with the given arguments; the process's peak memory in kB is the last word. It is Linux's own account, since
# getrusage would show the parent's memory where that was larger.
_CHILD = """
import sys
from golf.cli import main
sys.argv[0] = "golf"
try:
    main()
finally:
    print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def bomb(rng: random.Random) -> list[str]:
    """Settings of a random model whose weights are few and whose work may be much."""
    heads = 2 ** rng.randrange(0, 8)
    width = heads * rng.choice((2, 4, 8, 16))
    layers = int(2 ** rng.uniform(0, min(8, 24 - 2 * width.bit_length())))  # few weights: others are refused by size
    window = int(2 ** rng.uniform(5, 18))
    settings = [
        f"model.width={max(8, width)}",
        f"model.heads={heads if width >= 8 else 1}",
        f"model.kv_heads={1 if width < 8 else rng.choice((1, heads))}",
        f"model.layers={layers}",
        f"model.mlp_ratio={rng.choice((1.0, 2.0, 16.0))}",
        f"train.sequence_length={window}",
        f"train.batch_tokens={window}",
        f"verify.tokens={int(2 ** rng.uniform(5, 20))}",
    ]
    if rng.random() < 0.3:
        settings += [f"model.recur_layers=[0,{layers - 1}]", f"model.recur_times={rng.choice((2, 16))}"]
    return settings


def weigh(content: bytes, text: Path) -> dict[str, Any]:
    """Verify a file in a process of its own: what came of it, its seconds, and its peak memory in bytes."""
    path = text.with_name("bomb.bin")
    path.write_bytes(content)
    command = [sys.executable, "-c", _CHILD, "verify", path.name, "--data", text.name, "--max-loss", "99"]
    begin = time.monotonic()
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, check=False)
    outcome = {0: "done", 4: "refused"}.get(done.returncode, f"exit {done.returncode}")
    if "measuring its model on this text" in done.stderr:
        outcome = "refused with its text"
    return {"outcome": outcome, "seconds": time.monotonic() - begin, "memory": int(done.stderr.split()[-1]) << 10}


def throw(count: int, seed: int, report: Callable[[int], None]) -> dict[str, Any]:
    """Verify `count` bombs; returns the tally, with "failure" naming one that took too much."""
    tokens = load_tokenizer("bytes", b"")
    tally: dict[str, int] = {}
    longest: dict[str, float] = {}
    most = 0
    failure = None
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "text.txt")
        text.write_text("a line of text\n" * (_TEXT_BYTES // 15))
        ordinary = weigh(artifact(tokens, 100, "text.txt", "verify.tokens=64"), text)
        for number in range(count):
            settings = bomb(random.Random(f"{seed}/{number}"))
            try:
                content = artifact(tokens, 100, "text.txt", *settings)
            except UsageError:
                continue
            if len(content) > Limits().small_file:
                continue
            found = weigh(content, text)
            more = found["memory"] - ordinary["memory"]
            found["seconds"] = max(0.0, found["seconds"] - ordinary["seconds"])
            tally[found["outcome"]] = tally.get(found["outcome"], 0) + 1
            longest[found["outcome"]] = max(longest.get(found["outcome"], 0.0), found["seconds"])
            most = max(most, more if found["outcome"] == "done" else 0)
            allowed = REFUSED_S if found["outcome"] == "refused" else DONE_S
            if found["seconds"] > allowed or more > MOST_MEMORY or found["outcome"].startswith("exit"):
                failure = f"bomb {number} of seed {seed} ({', '.join(settings)}): {found}, {more:,} bytes more"
                break
            report(number + 1)
    rounded = {outcome: round(seconds, 2) for outcome, seconds in longest.items()}
    return {"bombs": tally, "longest_seconds": rounded, "more_memory_bytes": most, "failure": failure}


def main() -> int:
    """Print the tally; 1 where a file took too much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    add_out_option(parser, None)
    given = parser.parse_args()

    def report(done: int) -> None:
        if done % 20 == 0:
            print(f"{done} of {given.count}", file=sys.stderr, flush=True)

    found = throw(given.count, given.seed, report)
    print(found)
    if given.out:
        append(given.out, {"script": "bombs"} | circumstances() | found)
    return 1 if found["failure"] else 0


if __name__ == "__main__":
    sys.exit(main())
