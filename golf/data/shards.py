"""Token shards: write and check the contest's `.bin` files, and read them as one memory-mapped TokenStream.

A shard is 256 little-endian int32 (magic, version, count, then zeros) and `count` little-endian uint16.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from golf.errors import DamagedShard, DataError, EnvironmentFailure
from golf.runtime import durable
from golf.runtime.regular import regular

# The contest's format (modded-nanogpt's, with its magic and version).
MAGIC, VERSION = 20240520, 1
HEADER_BYTES = 256 * 4
TOKEN_BYTES = 2
# Tokens checked at a time where a whole shard is checked: 32 MB.
_CHECKED_AT_ONCE = 16_000_000
# Length of a slice in tokens from which the system's read-ahead is useful: 128 kB.
_WINDOW = 65_536

Tokens = NDArray[np.uint16]


def write_shard(path: Path, tokens: Tokens) -> None:
    """Write `tokens` (n,) uint16 durably. Law: `open_shard(path)` equals them."""
    header = struct.pack("<3i", MAGIC, VERSION, len(tokens)).ljust(HEADER_BYTES, b"\0")

    def fill(temporary: Path) -> None:  # without another copy of what may be 200 MB
        with temporary.open("wb") as stream:
            stream.write(header)
            tokens.astype("<u2", copy=False).tofile(stream)

    durable.replace(path, fill, need=len(header) + TOKEN_BYTES * len(tokens))


def open_shard(path: Path, vocab_size: int | None = None) -> Tokens:
    """Memory-map a shard's tokens (n,) uint16, read-only; with `vocab_size`, check every one of them.

    Raises DamagedShard naming the file and the byte offset, DataError where there is no such file.
    """
    tokens = _map(path, shard_length(path))
    if vocab_size is not None:
        check_tokens(path, tokens, vocab_size)
    return tokens


def shard_length(path: Path) -> int:
    """Number of tokens in a shard, from its header and its size alone."""
    try:
        with regular(path).open("rb") as stream:
            return _read_length(path, stream)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist, seen from where golf runs; check data.path") from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error


def check_tokens(path: Path, tokens: Tokens, vocab_size: int, *, first: int = 0) -> None:
    """Raise DamagedShard at the first of `tokens` that is no token of the tokenizer; they start at token `first`."""
    for start in range(0, len(tokens), _CHECKED_AT_ONCE):
        block = tokens[start : start + _CHECKED_AT_ONCE]
        if block.max() >= vocab_size:
            wrong = int(np.argmax(block >= vocab_size))
            offset = HEADER_BYTES + TOKEN_BYTES * (first + start + wrong)
            raise DamagedShard(
                str(path),
                f"token {block[wrong]} at byte {offset} is not below the tokenizer's {vocab_size}; "
                f"use the tokenizer that made the shard",
            )


class TokenStream:
    """Concatenated shards as one sequence of tokens; a shard is memory-mapped when it is first read."""

    def __init__(self, shards: Sequence[Path | Tokens], *, vocab_size: int) -> None:
        """Take paths of shards, or tokens in memory; of a path only the header is read now.

        Raises DamagedShard and DataError as `open_shard` does.
        """
        self.vocab_size = vocab_size
        self._shards = list(shards)
        lengths = [shard_length(shard) if isinstance(shard, Path) else len(shard) for shard in self._shards]
        self._starts = np.array([0, *accumulate(lengths)], dtype=np.int64)
        self._mapped: dict[int, Tokens] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def slice(self, start: int, stop: int) -> Tokens:
        """Copy tokens [start, stop) as (stop-start,) uint16, across shards.

        Every token is checked against `vocab_size`: a larger one raises DamagedShard with its byte offset. Raises
        ValueError unless 0 <= start <= stop <= len(self).
        """
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"tokens {start} to {stop} are not within the stream's {len(self)}")
        parts = [np.zeros(0, dtype=np.uint16)]
        index = int(np.searchsorted(self._starts, start, side="right")) - 1
        while index < len(self._shards) and self._starts[index] < stop:
            begin, end = (int(self._starts[index + step]) for step in (0, 1))
            parts.append(self._read(index, max(start, begin) - begin, min(stop, end) - begin))
            index += 1
        return np.concatenate(parts)

    def _read(self, index: int, start: int, stop: int) -> Tokens:
        shard = self._shards[index]
        if index not in self._mapped:
            self._mapped[index] = _map(shard, shard_length(shard)) if isinstance(shard, Path) else shard
        _advise(self._mapped[index], stop - start)
        if isinstance(shard, Path):  # reading behind the end of a mapped file would kill the process
            shard_length(shard)
        tokens = self._mapped[index][start:stop]
        check_tokens(shard if isinstance(shard, Path) else Path("tokens"), tokens, self.vocab_size, first=start)
        return tokens


def _map(path: Path, length: int) -> Tokens:
    if not length:  # an empty range cannot be mapped
        return np.zeros(0, dtype=np.uint16)
    return np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES, shape=(length,))


def _advise(tokens: Tokens, count: int) -> None:
    """Turn off the system's read-ahead for short slices at random positions (8 MB each on the measured machine).

    A step of the contest's 512 windows from 80 shards that were not in memory took 14 s without this advice, and
    .3 s with it (experiments/open_shards).
    """
    mapped = getattr(tokens, "_mmap", None)  # tokens in memory have none
    if mapped is not None and hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM if count <= _WINDOW else mmap.MADV_NORMAL)


def _read_length(path: Path, stream: BinaryIO) -> int:
    header = stream.read(HEADER_BYTES)
    size = stream.seek(0, 2)
    if len(header) < HEADER_BYTES:
        raise DamagedShard(str(path), f"ends at byte {size}, within the header of {HEADER_BYTES} bytes; fetch it again")
    magic, version, count = struct.unpack_from("<3i", header)
    if magic != MAGIC:
        raise DamagedShard(str(path), f"byte 0 holds {magic}, not a shard's {MAGIC}; this is no token shard")
    if version != VERSION:
        raise DamagedShard(str(path), f"byte 4 holds version {version}; only {VERSION} is known")
    if count < 0 or size != HEADER_BYTES + TOKEN_BYTES * count:
        wanted = HEADER_BYTES + TOKEN_BYTES * count
        raise DamagedShard(
            str(path), f"byte 8 declares {count} tokens, so {wanted} bytes; the file has {size}; fetch it again"
        )
    return int(count)
