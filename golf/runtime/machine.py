"""What this machine offers, as values: packages, processor, memory, GPUs, disks. No network, nothing that waits."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from golf.runtime.device import product_dtype

# golf's dependencies and the packages of its extras, as pyproject.toml names them.
NEEDED = (
    "click",
    "constriction",
    "filelock",
    "matplotlib",
    "numpy",
    "platformdirs",
    "pydantic",
    "rich",
    "safetensors",
    "sentencepiece",
    "torch",
    "zstandard",
)
EXTRAS = {"hub": "huggingface_hub", "parquet": "pyarrow", "bench": "brotli"}


@dataclass(frozen=True)
class Package:
    """A package; `problem` says why golf cannot use it, and is None where it can."""

    name: str
    version: str | None
    problem: str | None


@dataclass(frozen=True)
class Processor:
    """The CPU as torch uses it."""

    model: str
    cores: int
    """Those that this process may use."""
    threads: int
    """Those that torch computes with."""
    load: float | None
    """Programs that computed in the last minute, on average; None where the system does not tell."""
    instructions: str
    """The largest instruction set that torch has kernels for here: AVX512, AVX2, DEFAULT, ..."""
    bfloat16: bool
    """Whether the CPU multiplies bfloat16 itself."""


@dataclass(frozen=True)
class Memory:
    """Bytes of memory; None where the system does not tell."""

    total: int | None
    available: int | None


@dataclass(frozen=True)
class Gpu:
    """A CUDA device and its bytes of memory."""

    name: str
    memory: int


@dataclass(frozen=True)
class Disk:
    """Where a folder lies or would lie: free bytes, and whether golf may write there."""

    path: Path
    free: int | None
    writable: bool


def needed_packages() -> list[Package]:
    """Every dependency of golf, imported to see whether it works."""
    return [Package(name, _version(name), _problem(name)) for name in NEEDED]


def extra_packages() -> dict[str, Package]:
    """By the name of golf's extra the package that it brings; it is looked for, not imported."""
    return {
        extra: Package(name, _version(name), None if importlib.util.find_spec(name) else "not installed")
        for extra, name in EXTRAS.items()
    }


def processor() -> Processor:
    """The CPU; needs torch."""
    import torch

    able = torch.backends.cpu.get_cpu_capability()
    native = product_dtype(torch.device("cpu")) == torch.bfloat16
    return Processor(_cpu_model(), _cores(), torch.get_num_threads(), _load(), able, native)


def gpus() -> list[Gpu]:
    """Every CUDA device that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [Gpu(each.name, each.total_memory) for each in found]


def memory() -> Memory:
    """The machine's memory, a container's limit aside."""
    figures = {key: int(rest.split()[0]) * 1024 for key, rest in _colons(Path("/proc/meminfo")) if rest.endswith("kB")}
    if figures:
        return Memory(figures.get("MemTotal"), figures.get("MemAvailable"))
    try:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None)
    except (ValueError, OSError, AttributeError):
        return Memory(None, None)


def disk(folder: Path) -> Disk:
    """The disk of `folder`, which need not exist: that of its nearest parent which does."""
    place = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = None
    return Disk(folder, free, place.is_dir() and os.access(place, os.W_OK | os.X_OK))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _problem(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        return "not installed" if error.name == name else f"broken: {error}"
    except Exception as error:  # a package of another machine or version can raise anything
        return f"broken: {error or type(error).__name__}"
    return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _cpu_model() -> str:
    named = dict(_colons(Path("/proc/cpuinfo")))
    return named.get("model name") or platform.processor() or platform.machine() or "unknown"


def _colons(file: Path) -> Iterable[tuple[str, str]]:
    """The lines `key: value` of a file; none where it cannot be read."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [(key.strip(), value.strip()) for key, colon, value in (line.partition(":") for line in lines) if colon]
