"""Seconds of every stage of a pack, and of decoding: `python -m bench.pack_speed RUN --cap 16MB [--out FILE]`.

Bars, for the contest's sizes (ten million weights and more): up to 17.1 million weights are packed in 240 s, up to 36
million in 540 s, on two cores; the process takes no more than 4 GiB; ten million weights a second are decoded. The
command ends with status 1 where one is missed. A smaller model has the figures and no bar.

Beside golf's coder stands `lrzip -z` on the same symbols, where it is installed. Peak memory is that of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.packers.zpaq import zpaq_size
from experiments.records import add_out_option, append, circumstances
from golf.artifact import open_artifact
from golf.compress.matrix_sections import TABLES, Packed, pack_matrices
from golf.evaluation.rebuild import decoded_matrices, rebuild
from golf.packing.pack import pack
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.byte_sizes import parse_size
from golf.runtime.interrupt import listening
from golf.runtime.observer import Observer

LEAST_WEIGHTS = 10_000_000
# Seconds of a whole pack, of at most so many weights.
MOST_SECONDS = ((17_100_000, 240.0), (36_000_000, 540.0))
MOST_BYTES = 4 << 30
LEAST_DECODED = 10_000_000  # weights a second


def missed(weights: int, *, seconds: float, peak_bytes: int, decoded: float) -> list[str]:
    """Bars that a pack of the contest's size missed."""
    if weights < LEAST_WEIGHTS:
        return []
    most = next((bar for size, bar in MOST_SECONDS if weights <= size), float("inf"))
    found = [f"{seconds:.0f} s, bar {most:.0f}"] if seconds > most else []
    found += [f"{peak_bytes / 2**30:.2f} GiB, bar {MOST_BYTES >> 30}"] if peak_bytes > MOST_BYTES else []
    return found + ([f"{decoded / 1e6:.1f} M weights/s decoded, bar 10"] if decoded < LEAST_DECODED else [])


def main() -> None:
    """Pack once, decode five times, code once more beside ZPAQ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cap", default="16MB")
    add_out_option(parser, None)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    out = arguments.run / "speed.bin"
    with listening() as stop:
        result = pack(
            Run(arguments.run),
            cap=parse_size(arguments.cap),
            code_bytes=None,
            out=out,
            cache=find_workspace(Path.cwd()).data,
            device=torch.device("cpu"),
            stop=stop,
            settings=arguments.settings,
            observer=Observer(),
        )
    figures: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "size": result.size,
        "bits_per_weight": result.bits_per_weight,
        "gap": result.loss - result.float_loss,
        "seconds": result.seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
    }
    artifact = open_artifact(out)
    times = [_timed(lambda: rebuild(artifact)) for _ in range(5)]
    weights = artifact.manifest.weights
    figures["weights"] = weights
    figures["decode_weights_per_s"] = [round(weights / t) for t in times]
    print(
        json.dumps(figures, indent=1), f"\ndecoding: median {weights / statistics.median(times) / 1e6:.1f} M weights/s"
    )
    coded = decoded_matrices(artifact)
    started = time.monotonic()
    packed = pack_matrices(coded, coder="best")
    figures["code_seconds"] = round(time.monotonic() - started, 2)
    figures["symbol_bytes"] = {"golf": _symbol_bytes(packed)}
    if shutil.which("lrzip"):
        symbols = [each.residual for each in coded if each.residual is not None]
        width = np.int8 if max(int(np.abs(s).max()) for s in symbols) < 128 else np.int16
        started = time.monotonic()
        figures["symbol_bytes"]["lrzip -z"] = zpaq_size(b"".join(s.astype(width).tobytes() for s in symbols))
        figures["lrzip_seconds"] = round(time.monotonic() - started, 2)
    if arguments.out:
        append(arguments.out, {"script": "pack_speed"} | circumstances() | {"run": arguments.run.name} | figures)
    print(figures["symbol_bytes"], figures["code_seconds"], figures.get("lrzip_seconds"))
    failed = missed(
        weights,
        seconds=sum(result.seconds.values()),
        peak_bytes=figures["peak_bytes"],
        decoded=weights / statistics.median(times),
    )
    print("\n".join(failed) or "no bar missed")
    sys.exit(bool(failed))


def _symbol_bytes(packed: Packed) -> int:
    """Bytes of all residual symbols and of their tables."""
    parts = [part["residual"] for part in packed.own if "residual" in part]
    parts += [packed.shared[TABLES]] if TABLES in packed.shared else []
    return sum(len(payload) for _, _, payload in parts)


def _timed(work: Any) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
