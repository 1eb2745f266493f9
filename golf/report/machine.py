"""What this machine offers, as a table that says what each line means."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from rich.table import Table

from golf import __version__
from golf.report.tables import table
from golf.runtime.machine import Disk, Gpu, Memory, Package, Processor
from golf.training.results import Speed

# Needed packages that have a line of their own: what golf's numbers depend on. The others have one where they fail.
_SHOWN = {
    "torch": "trains and measures",
    "numpy": "arrays of tokens and symbols",
    "sentencepiece": "tokenizers",
    "zstandard": "the artifact's manifest and plain sections",
    "constriction": "entropy coding of the weights",
}
_EXTRAS = {
    "hub": "golf data fetch downloads the contest's shards",
    "parquet": "texts in .parquet files are read",
    "bench": "experiments compare golf with brotli",
}


def packages_table(needed: Iterable[Package], extras: dict[str, Package]) -> Table:
    """Versions of golf, Python and what golf needs; extras with the command that installs them."""
    made = _three("packages")
    made.add_row("golf", __version__, "")
    made.add_row("Python", platform.python_version(), "3.11 to 3.13 are tested")
    for package in needed:
        if package.problem:
            made.add_row(package.name, package.problem, f"golf needs it: pip install {package.name}")
        elif package.name in _SHOWN:
            made.add_row(package.name, package.version or "unknown", _SHOWN[package.name])
    made.add_section()
    for extra, package in extras.items():
        gain = _EXTRAS[extra]
        if package.problem:
            made.add_row(package.name, package.problem, f"optional, {gain}: pip install {package.name}")
        else:
            made.add_row(package.name, package.version or "unknown", gain)
    return made


def computing_table(processor: Processor, memory: Memory, gpus: Iterable[Gpu]) -> Table:
    """Processor, memory and GPUs."""
    made = _three("machine")
    made.add_row("processor", processor.model, "")
    cores = "1 core" if processor.cores == 1 else f"{processor.cores:,} cores"
    threads = "1 thread" if processor.threads == 1 else f"{processor.threads:,} threads"
    made.add_row("cores", f"{cores}, {threads}", "torch computes with these threads; OMP_NUM_THREADS sets them")
    if processor.load is not None:
        busy = processor.load >= processor.cores
        meaning = "all busy: fewer threads may be faster now (OMP_NUM_THREADS=1)" if busy else "programs that compute"
        made.add_row("load", f"{processor.load:.1f}", meaning)
    made.add_row("instructions", processor.instructions, "what torch's own kernels use")
    if processor.bfloat16:
        made.add_row("bfloat16", "native", "NuMuon's and Muon's products run in it (optimizer.matmul_dtype)")
    else:
        made.add_row("bfloat16", "emulated", "slow here: NuMuon's and Muon's products run in float32")
    made.add_row("memory", _bytes(memory.available), f"available, of {_bytes(memory.total)}")
    found = list(gpus)
    for gpu in found:
        made.add_row("GPU", gpu.name, f"{_bytes(gpu.memory)}; --device auto takes it")
    if not found:
        made.add_row("GPU", "none", "trainings run on the processor: quickstart is made for that, 16 MB is not")
    return made


def places_table(data: Disk, artifacts: Disk, cached: int) -> Table:
    """The workspace's folders and the room that is left in them."""
    made = _three("workspace")
    for name, disk, meaning in (("data", data, "cache of tokens"), ("artifacts", artifacts, "one folder a run")):
        room = f"{_bytes(disk.free)} free" if disk.writable else "cannot be written"
        made.add_row(name, room, f"{meaning}: {disk.path}")
    made.add_row("cache", _bytes(cached), "golf cache lists it, golf cache clear empties it")
    return made


def speed_table(speed: Speed) -> Table:
    """Tokens a second of a training, and what that makes of a whole one."""
    made = _three("speed, as busy as this machine is now")
    time = f"{speed.seconds / 60:.1f} min" if speed.seconds < 5940 else f"{speed.seconds / 3600:.1f} h"
    meaning = f"{speed.recipe}'s {speed.steps:,} steps take about {time} here; measuring and packing add to it"
    made.add_row(f"training, {speed.device}", f"{speed.tokens_per_second:,.0f} tokens/s", meaning)
    return made


def _three(title: str) -> Table:
    return table(title, "", "", "", text_columns=3)


def _bytes(size: int | None) -> str:
    """Decimal gigabytes, megabytes below one."""
    if size is None:
        return "unknown"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
