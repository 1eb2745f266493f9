"""Batches of TRAINING text for a pack: for calibration, for fine-tuning, and held out from it for measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golf.data import Batches, TokenStream
from golf.packing.inputs import PackInputs
from golf.runtime.observer import Observer

# Tokens of one backward pass of the calibration.
CALIBRATION_BATCH = 4096
# Tokens on which candidates are measured: the noise of their gaps is .001 nats per token (docs/log.md).
HELD_OUT_TOKENS, HELD_OUT_BATCH = 16_384, 2048
# Most of a small text that is held out, as a share of its windows.
_MOST_HELD_OUT = 0.25
# Added to the recipe's seed, so that the order of windows differs from the training's and between both uses.
_CALIBRATION, _FINE_TUNING = 1, 2


@dataclass(frozen=True)
class TextWindows:
    """Batches of windows (B, T+1) int64 on `device`, a pure function of the seed.

    `vocab_size` bounds the random tokens that replace text where only time is measured.
    """

    stream: TokenStream
    sequence_length: int
    seed: int
    vocab_size: int
    device: torch.device
    observer: Observer = Observer()

    @classmethod
    def of(cls, inputs: PackInputs, observer: Observer) -> TextWindows:
        """The training text of `inputs`."""
        recipe, vocab_size = inputs.recipe, inputs.model.vocab_size
        length = recipe.train.sequence_length
        return cls(inputs.data.train, length, recipe.seed, vocab_size, inputs.device, observer)

    def calibration(self, tokens: int) -> Iterator[Tensor]:
        """Batches (B, T+1) of about `tokens` tokens in all, at least one batch."""
        size = self.batch_size(tokens, batch_tokens=CALIBRATION_BATCH)
        batches = self._batches(size, seed=self.seed + _CALIBRATION)
        count = self.count(tokens, batch_tokens=CALIBRATION_BATCH)
        for index in range(count):
            self.observer.check()
            self.observer.stage("calibrate", index / count)
            yield torch.from_numpy(batches.batch(index)).to(self.device)

    def held_out(self) -> Iterator[Tensor]:
        """Batches (B, T+1) of held-out training text, which fine-tuning never reads; candidates are measured on it."""
        rows = max(1, HELD_OUT_BATCH // self.sequence_length)
        for start in range(0, len(self._held_out), rows):
            self.observer.check()
            yield torch.from_numpy(self._order.windows(self._held_out[start : start + rows])).to(self.device)

    def fine_tuning(self, tokens: int, *, batch_tokens: int) -> Iterator[Tensor]:
        """Batches of about `tokens` tokens in all, at least one; no window overlaps a held-out one in any epoch."""
        rows = self.batch_size(tokens, batch_tokens=batch_tokens) // self.sequence_length
        starts = self._free_starts()
        for _ in range(self.count(tokens, batch_tokens=batch_tokens)):
            self.observer.check()
            batch = np.array([next(starts) for _ in range(rows)])
            yield torch.from_numpy(self._order.windows(batch)).to(self.device)

    def random(self, count: int, *, batch_tokens: int) -> Iterator[Tensor]:
        """`count` batches of random tokens, for timing: they take as long as text."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = self.batch_size(batch_tokens, batch_tokens=batch_tokens) // self.sequence_length
        for _ in range(count):
            self.observer.check()
            windows = torch.randint(self.vocab_size, (rows, self.sequence_length + 1), generator=generator)
            yield windows.to(self.device)

    def batch_size(self, tokens: int, *, batch_tokens: int) -> int:
        """Tokens of one batch, a multiple of the sequence length."""
        T = self.sequence_length
        return max(1, min(batch_tokens, tokens) // T) * T

    def count(self, tokens: int, *, batch_tokens: int) -> int:
        """Number of batches of about `tokens` tokens in all, at least one."""
        return max(1, tokens // self.batch_size(tokens, batch_tokens=batch_tokens))

    def _batches(self, batch_tokens: int, *, seed: int) -> Batches:
        T = self.sequence_length
        return Batches(self.stream, batch_tokens=batch_tokens, sequence_length=T, seed=seed)

    @cached_property
    def _order(self) -> Batches:
        """Batches of one window a step, in the order that held-out text and then fine-tuning take."""
        return self._batches(self.sequence_length, seed=self.seed + _FINE_TUNING)

    @cached_property
    def _held_out(self) -> NDArray[np.int64]:
        """Positions of the first tokens of the held-out windows, which are the first of `_order`."""
        most = max(1, int(_MOST_HELD_OUT * self._order.windows_per_epoch))
        count = min(max(1, HELD_OUT_TOKENS // self.sequence_length), most)
        return np.array([int(self._order.starts(step)[0]) for step in range(count)])

    def _free_starts(self) -> Iterator[int]:
        """Yield first positions of windows none of whose targets is a held-out one; of all windows in a tiny text."""
        held, step = np.sort(self._held_out), len(self._held_out)
        whole = self._order.windows_per_epoch * _MOST_HELD_OUT < 1
        while True:
            start = int(self._order.starts(step)[0])
            step += 1
            after = int(np.searchsorted(held, start))
            near = held[max(0, after - 1) : after + 1]
            if whole or bool((np.abs(near - start) >= self.sequence_length).all()):
                yield start
