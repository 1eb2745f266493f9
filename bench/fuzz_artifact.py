"""Throw mutants of an artifact at the reader: `python -m bench.fuzz_artifact --count 1000000` (about 12 minutes).

Every mutant must be refused with DamagedFile or, where a forger repaired all digests, keep the promises of an accepted
file; none may take 2 seconds, and all together no more than 256 MiB. The first that breaks this ends the run with
status 1 and the number that makes it again (`--first N --count 1`).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from experiments.records import add_out_option, append, circumstances
from golf.artifact import Limits
from tests.artifact_mutants import MUTATIONS, judge, sample, unsigned_noise

LONGEST = 2.0  # seconds
MOST_MEMORY = 256 << 20  # bytes beyond what the process had before the first mutant
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def fuzz(count: int, *, seed: int, first: int, report: Callable[[int], None]) -> dict[str, Any]:
    """Judge mutants first ... first + count - 1; returns the tally, with "failure" naming a mutant that got through."""
    content, limits = sample(), Limits()
    verdicts: dict[str, Counter[str]] = {mutate.__name__: Counter() for mutate in MUTATIONS}
    memory, begin, longest, failure = _peak_memory(), time.monotonic(), 0.0, None
    for number in range(first, first + count):
        rng = random.Random(f"{seed}/{number}")
        mutate = MUTATIONS[number % len(MUTATIONS)]
        mutant = mutate(rng, content)
        start = time.perf_counter()
        verdict = _verdict(mutant, limits)
        seconds = time.perf_counter() - start
        longest = max(longest, seconds)
        verdicts[mutate.__name__]["unchanged" if mutant == content else verdict] += 1
        failure = _failure(
            verdict, seconds, _peak_memory() - memory, noise=mutate is unsigned_noise and mutant != content
        )
        if failure:
            failure = f"mutant {number} of seed {seed} ({mutate.__name__}): {failure}"
            break
        report(number - first + 1)
    return {
        "mutants": sum(tally.total() for tally in verdicts.values()),
        "verdicts": {name: dict(sorted(tally.items())) for name, tally in verdicts.items()},
        "longest_seconds": round(longest, 4),
        "more_memory_bytes": _peak_memory() - memory,
        "seconds": round(time.monotonic() - begin, 1),
        "failure": failure,
    }


def _verdict(mutant: bytes, limits: Limits) -> str:
    try:
        return judge(mutant, limits)
    except Exception as error:  # whatever escapes is the finding
        return f"stray {type(error).__name__}: {error}"


def _failure(verdict: str, seconds: float, memory: int, *, noise: bool) -> str | None:
    if verdict.startswith("stray"):
        return verdict
    if noise and verdict == "accepted":
        return "altered content was accepted"
    if seconds > LONGEST:
        return f"took {seconds:.1f} s"
    return f"took {memory:,} bytes of memory" if memory > MOST_MEMORY else None


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


def main() -> int:
    parser = argparse.ArgumentParser(description="Throw mutants of an artifact at the reader.")
    parser.add_argument("--count", type=int, default=1_000_000, help="number of mutants (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant (default: 0)")
    add_out_option(parser, None)
    options = parser.parse_args()

    def report(done: int) -> None:
        if done % 50_000 == 0:
            print(f"{done:,} of {options.count:,}", file=sys.stderr)

    result = fuzz(options.count, seed=options.seed, first=options.first, report=report)
    print(json.dumps(result, indent=2))
    if options.out:
        append(options.out, {"script": "fuzz_artifact"} | circumstances() | result)
    return 1 if result["failure"] else 0


if __name__ == "__main__":
    sys.exit(main())
