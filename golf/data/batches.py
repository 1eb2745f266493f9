"""Batches of windows of training text as a pure function of the step, so that resuming needs only the step."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from golf.data.shards import TokenStream
from golf.errors import DataError

# Four rounds make a Feistel network a pseudo-random permutation (Luby & Rackoff 1988); small domains need more.
_ROUNDS = 8
# Least bits of a half: one bit would allow too few orders of a handful of windows.
_LEAST_HALF = 2


class Batches:
    """Batches of windows of T + 1 tokens, each window once an epoch, in an order given by `seed` and the epoch alone.

    Laws: `batch(step)` depends on nothing but the stream, the arguments and `step`; within an epoch windows start T
    tokens apart and none is taken twice. Every epoch starts at another offset, so that its windows differ too.
    """

    def __init__(self, stream: TokenStream, *, batch_tokens: int, sequence_length: int, seed: int) -> None:
        """Take T = sequence_length and B = batch_tokens / T; DataError where the stream is shorter than a window."""
        T = sequence_length
        if batch_tokens < T or batch_tokens % T:
            raise ValueError(f"batch_tokens {batch_tokens} is not a multiple of sequence_length {T}")
        if len(stream) < T + 1:
            raise DataError(
                f"the training text has {len(stream):,} tokens and one window needs {T + 1:,}; "
                f"use more text or a smaller train.sequence_length"
            )
        self._stream, self._seed = stream, seed
        self.rows, self.sequence_length = batch_tokens // T, T
        # Every offset below T leaves this many windows; a stream of little more than one window has one.
        self.windows_per_epoch = max(1, (len(stream) - T) // T)
        self._offsets = min(T, len(stream) - self.windows_per_epoch * T)
        self._epoch: tuple[int, int, Permutation] | None = None

    def batch(self, step: int) -> NDArray[np.int64]:
        """Windows (B, T+1) int64 of `step`, counted from 0; a batch may end one epoch and begin the next."""
        return self.windows(self.starts(step))

    def starts(self, step: int) -> NDArray[np.int64]:
        """First tokens (B,) int64 of the windows of `step`."""
        first = step * self.rows
        return np.concatenate([self._starts(epoch, low, high) for epoch, low, high in self._epochs(first)])

    def windows(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The windows (n, T+1) int64 that begin at `starts` (n,)."""
        width = self.sequence_length + 1
        return np.stack([self._stream.slice(start, start + width) for start in starts.tolist()]).astype(np.int64)

    def _epochs(self, first: int) -> list[tuple[int, int, int]]:
        """The parts (epoch, from, to) of windows `first` to `first + B`, counted over all epochs."""
        parts = []
        position, end = first, first + self.rows
        while position < end:
            epoch, low = divmod(position, self.windows_per_epoch)
            high = min(self.windows_per_epoch, low + end - position)
            parts.append((epoch, low, high))
            position += high - low
        return parts

    def _starts(self, epoch: int, low: int, high: int) -> NDArray[np.int64]:
        """First tokens of the windows at places `low` to `high` of an epoch."""
        if self._epoch is None or self._epoch[0] != epoch:
            key = hashlib.sha256(f"golf batches {self._seed} {epoch}".encode()).digest()
            offset = int.from_bytes(key[:8]) % self._offsets
            self._epoch = epoch, offset, Permutation(self.windows_per_epoch, key=key)
        _, offset, permutation = self._epoch
        return offset + permutation(np.arange(low, high)) * self.sequence_length


class Permutation:
    """A pseudo-random bijection of 0 ... size-1 in constant memory: a Feistel network with cycle walking.

    The network permutes the next power of four; a value outside the range is permuted again until it is inside, at most
    four times on average (Black & Rogaway 2002), or 16 / `size` times where that is more.
    """

    def __init__(self, size: int, *, key: bytes) -> None:
        """Permute `size` numbers, 1 to 2^62, in an order given by `key` alone; raises ValueError for other sizes."""
        if not 1 <= size <= 1 << 62:
            raise ValueError(f"a permutation of {size} numbers is not supported")
        self.size = size
        self._half = np.uint64(max(_LEAST_HALF, ((size - 1).bit_length() + 1) // 2))
        self._mask = (np.uint64(1) << self._half) - np.uint64(1)
        keys = hashlib.shake_128(key).digest(8 * _ROUNDS)
        self._keys = np.frombuffer(keys, dtype="<u8").astype(np.uint64)

    def __call__(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Images (n,) int64 of `places` (n,), each within 0 ... size-1."""
        images = self._network(places.astype(np.uint64))
        while (outside := images >= self.size).any():
            images[outside] = self._network(images[outside])
        return images.astype(np.int64)

    def _network(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self._half, values & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & self._mask)
        return left << self._half | right


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea & Flood 2014), modulo 2^64."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
