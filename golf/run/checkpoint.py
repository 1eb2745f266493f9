"""Checkpoints: tensors and run state in one safetensors file with a digest over both; no pickle.

safetensors has no checksum, and its library writes several metadata keys in random order. So there is one key, `golf`:
canonical JSON of `{"digest", "format", "state"}`, where the digest covers the state and every tensor. The file is laid
out here, byte by byte, and read back more strictly than the format asks; any safetensors library can read it too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from golf.errors import DamagedCheckpoint, EnvironmentFailure, UsageError
from golf.runtime import durable

NEWEST = "checkpoint.safetensors"
FORMAT = 1
# A model of 256 layers with two moments a weight needs 1 MB. Parsed JSON takes up to 25 times its text in memory.
MAX_HEADER = 4 * 1024**2
# Weights and moments, counters, states of random generators; the names are safetensors'.
DTYPES = {"I64": torch.int64, "F32": torch.float32, "BF16": torch.bfloat16, "U8": torch.uint8}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_DIMENSIONS = 8
MAX_ELEMENTS = 1 << 48  # far below the size at which torch's stride arithmetic overflows


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name, on the CPU, none sharing memory; `state`, plain JSON values."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    """Write durably to `path`; the file that was there becomes the previous checkpoint, `previous_of(path)`.

    `tensors`: any shape, device and layout, shared memory too; int64, float32, bfloat16 or uint8. `state`: JSON values
    with string keys and finite numbers. ValueError or TypeError for anything else. Laws: `load_checkpoint` gives back
    equal tensors and an equal state; the same tensors and state give the same bytes in every process. Raises
    EnvironmentFailure when the disk refuses.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    for name, tensor in plain.items():
        if tensor.dtype not in _NAMES or name == "__metadata__":
            raise ValueError(f"{name}: {tensor.dtype} cannot stand in a checkpoint")
    # safetensors' own order, largest elements first, keeps each tensor aligned.
    order = sorted(plain, key=lambda name: (-plain[name].itemsize, name))
    head = _lay_out({name: plain[name] for name in order}, state)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.write(head)
            for name in order:
                file.write(_raw(plain[name]))

    need = len(head) + sum(tensor.nbytes for tensor in plain.values())
    durable.replace(path, write, need=need, previous=previous_of(path))


def load_checkpoint(path: Path, *, prefix: str | None = None) -> Checkpoint:
    """Read and verify a checkpoint; with `prefix`, only tensors whose names start with it, which is then removed.

    Raises DamagedCheckpoint for any file that `save_checkpoint` did not write, UsageError if there is none, and
    EnvironmentFailure if it cannot be read. Memory stays within twice the file and 100 MB.
    """
    try:
        checkpoint = _read(path)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name the folder of a run, or make one with: golf train") from None
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpoint(str(path), str(error)) from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error
    except MemoryError:
        raise EnvironmentFailure(f"cannot read {path}: there is not enough memory for it") from None
    if prefix is None:
        return checkpoint
    chosen = {n.removeprefix(prefix): t for n, t in checkpoint.tensors.items() if n.startswith(prefix)}
    return Checkpoint(chosen, checkpoint.state)


def load_latest(folder: Path, *, prefix: str | None = None) -> tuple[Checkpoint, str | None]:
    """Load the newest sound checkpoint of a run's folder; the note says what was wrong if it is not the newest.

    Raises DamagedCheckpoint, naming file and reason, if there is no sound one; else as `load_checkpoint`.
    """
    newest = folder / NEWEST
    previous = previous_of(newest)
    try:
        return load_checkpoint(newest, prefix=prefix), None
    except (DamagedCheckpoint, UsageError) as error:
        if not previous.exists():
            raise
        fault = error
    try:
        checkpoint = load_checkpoint(previous, prefix=prefix)
    except DamagedCheckpoint as error:
        raise DamagedCheckpoint(str(newest), f"{_reason(fault)}; and {previous.name}: {_reason(error)}") from None
    return checkpoint, f"{fault}; going back to {previous.name}"


def previous_of(path: Path) -> Path:
    """The path of the previous checkpoint: `checkpoint.previous.safetensors`."""
    return path.with_suffix(f".previous{path.suffix}")


def tensor_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 in hex over names, dtypes, shapes and bytes; independent of order, device and layout of tensors."""
    return _digest({name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}, None)


def _digest(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any] | None) -> str:
    names = sorted(tensors)
    table = [[name, str(tensors[name].dtype), list(tensors[name].shape)] for name in names]
    # The table gives each tensor's size, and JSON is self-delimiting, so different inputs never give the same bytes.
    sha = hashlib.sha256(_canonical({"format": FORMAT, "state": state, "tensors": table}).encode())
    for name in names:
        sha.update(_raw(tensors[name]))
    return sha.hexdigest()


def _raw(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor, without a copy."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _lay_out(tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> bytes:
    """The bytes before the tensors: length, header, padding to a multiple of 8."""
    text = _canonical({"digest": _digest(tensors, state), "format": FORMAT, "state": state})
    if json.loads(text)["state"] != state:
        raise ValueError("the state holds what JSON would change: a tuple, or a key that is no string")
    header: dict[str, Any] = {"__metadata__": {"golf": text}}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = _spell(header)
    if len(encoded) > MAX_HEADER:
        raise ValueError(f"names and state take {len(encoded):,} bytes; a checkpoint holds {MAX_HEADER:,}")
    return len(encoded).to_bytes(8, "little") + encoded


def _spell(header: Mapping[str, Any]) -> bytes:
    """The only accepted encoding of a header: no white space except padding to a multiple of 8 bytes."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _read(path: Path) -> Checkpoint:
    """Parse and verify; ValueError says what is wrong with the content."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for ever
        raise ValueError("is not a plain file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = _read_header(file, size)
        claim = _claim(header.pop("__metadata__", None))
        places = sorted(_places(header), key=lambda place: place[3:])
        start = file.tell()
        _check_tiling(places, size - start)
        content = bytearray(size - start)
        if file.readinto(content) != len(content):
            raise ValueError("it changed while it was read")
    tensors = {}
    for name, dtype, shape, begin, end in places:
        count = (end - begin) // dtype.itemsize
        flat = (
            torch.frombuffer(content, dtype=dtype, count=count, offset=begin) if count else torch.empty(0, dtype=dtype)
        )
        tensors[name] = flat.reshape(shape).clone()
    if _digest(tensors, claim["state"]) != claim["digest"]:
        raise ValueError("its content does not match its digest")
    return Checkpoint(tensors, claim["state"])


def _read_header(file: BinaryIO, size: int) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise ValueError(f"it has {size:,} bytes, too few for its header, or a header beyond {MAX_HEADER:,} bytes")
    text = file.read(length)
    header = _object(text, "the header")
    if _spell(header) != text:
        raise ValueError("the header is spelled in another way than golf does")
    return header


def _claim(metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, dict) or set(metadata) != {"golf"} or not isinstance(metadata["golf"], str):
        raise ValueError("it was not written by golf")
    claim = _object(metadata["golf"].encode("utf-8", "replace"), "the state")
    if claim.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}; another version of golf wrote it")
    if set(claim) != {"digest", "format", "state"} or not isinstance(claim["state"], dict):
        raise ValueError("the state has other keys than digest, format and state")
    if _canonical(claim) != metadata["golf"]:
        raise ValueError("the state is spelled in another way than golf does")
    return claim


def _object(text: bytes, what: str) -> dict[str, Any]:
    """Parse JSON strictly: unlike Python's parser, no duplicate keys, no NaN, no infinity."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is not strict JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(table := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return table


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is not finite")
    return number


Place = tuple[str, torch.dtype, list[int], int, int]


def _places(header: Mapping[str, Any]) -> Iterator[Place]:
    """Yield name, dtype, shape, begin and end (bytes from the header's end) of each tensor, checked."""
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"tensor {name[:80]!r} has no dtype, shape and data_offsets, or more than these")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ValueError(f"tensor {name[:80]!r} has a dtype other than {', '.join(DTYPES)}")
        if not _counts(shape) or len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:
            raise ValueError(f"tensor {name[:80]!r} has an impossible shape")
        if not _counts(offsets) or len(offsets) != 2:
            raise ValueError(f"tensor {name[:80]!r} has impossible offsets")
        begin, end = offsets
        if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
            raise ValueError(f"tensor {name[:80]!r} has offsets that contradict its shape")
        yield name, DTYPES[dtype], shape, begin, end


def _counts(values: object) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n <= 1 << 62 for n in values)


def _check_tiling(places: list[Place], size: int) -> None:
    """Refuse gaps, overlaps and bytes after the last tensor; `places` in order of their offsets."""
    reached = 0
    for name, _, _, begin, end in places:
        if begin != reached:
            raise ValueError(f"tensor {name[:80]!r} does not begin where the one before it ends")
        reached = end
    if reached != size:
        raise ValueError(f"its tensors take {reached:,} bytes, and {size:,} bytes are there")


def _reason(error: DamagedCheckpoint | UsageError) -> str:
    return str(error).removeprefix(f"{error.part}: ") if isinstance(error, DamagedCheckpoint) else str(error)
