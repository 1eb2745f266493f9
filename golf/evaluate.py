"""The one measure of a model: nats per token and bits per byte. The trained and the rebuilt model pass through here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from golf.model import Transformer

# Logits of one forward pass: 16 MB, which is 4,096 tokens at 1,024 pieces, enough to fill two cores.
_BATCH_LOGITS = 4096 * 1024


@dataclass(frozen=True)
class Score:
    """A model's loss over `tokens` targets that stand for `bytes` bytes of text."""

    loss: float
    """nats per token"""
    tokens: int
    bytes: int

    @property
    def bpb(self) -> float:
        """Bits per byte: (nats per token / ln 2) · tokens / bytes."""
        return bits_per_byte(self.loss, tokens=self.tokens, bytes_=self.bytes)


def bits_per_byte(loss: float, *, tokens: int, bytes_: int) -> float:
    """Nats per token → bits per byte; infinite when the targets stand for no bytes at all."""
    return loss / math.log(2) * tokens / bytes_ if bytes_ else math.inf


def scored_targets(length: int, sequence_length: int) -> int:
    """Targets that non-overlapping windows score of `length` tokens: ⌊(N-1)/T⌋·T, or all of a shorter text.

    The contest's default evaluation; its tail of less than a window is not scored.
    """
    return (length - 1) // sequence_length * sequence_length or max(length - 1, 0)


@torch.inference_mode()
def evaluate(
    model: Transformer,
    tokens: NDArray[np.uint16],
    target_bytes: NDArray[np.int64],
    *,
    sequence_length: int,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Score:
    """Score `tokens` (N,), BOS included, in windows of `sequence_length`; sums run in float64.

    `target_bytes` (N-1,) holds the bytes of text behind each target. `stop` may raise to end the work early.
    """
    targets = scored_targets(len(tokens), sequence_length)
    T = min(sequence_length, targets)
    starts = np.arange(0, targets, T) if targets else np.empty(0, dtype=np.int64)
    per_pass = max(1, _BATCH_LOGITS // (max(T, 1) * model.vocab_size))
    total = 0.0
    model.eval()
    for first in range(0, len(starts), per_pass):
        if stop is not None:
            stop()
        rows = starts[first : first + per_pass, None] + np.arange(T + 1)
        windows = torch.from_numpy(tokens[rows].astype(np.int64)).to(device or model.embedding.weight.device)
        total += float(model.loss(windows, reduction="none").double().sum())
        if progress is not None:
            progress(min(1.0, (first + per_pass) / len(starts)))
    loss = total / targets if targets else math.nan
    return Score(loss=loss, tokens=targets, bytes=int(target_bytes[:targets].sum()))
