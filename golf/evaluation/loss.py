"""Measure a model's loss in nats per token and bits per byte; used for trained and for rebuilt models alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from golf.model import Transformer
from golf.model.cost import largest_activation
from golf.recipe import Model as Shape
from golf.runtime.parallel import parallel_map

# Logits of one forward pass: 16 MB, which is 4,096 tokens at 1,024 pieces, enough to fill two cores.
_BATCH_LOGITS = 4096 * 1024


@dataclass(frozen=True)
class Score:
    """A model's loss over `tokens` targets that stand for `bytes` bytes of text."""

    loss: float
    """Nats per token."""
    tokens: int
    bytes: int
    restoring_bits: int = 0
    """Bits of the script that turns what the tokens decode to into the text (golf.evaluation.restore)."""
    counted_bytes: int | None = None
    """Bytes that the tokens count as, where that is not `bytes`."""

    @property
    def bpb(self) -> float:
        """Bits per byte of a lossless code: ((nats per token / ln 2) · tokens + restoring_bits) / bytes."""
        extra = self.restoring_bits / self.bytes if self.bytes else 0.0
        return bits_per_byte(self.loss, tokens=self.tokens, bytes_=self.bytes) + extra

    @property
    def contest_bpb(self) -> float:
        """The contest's bits per byte: of the bytes that the tokens count as, whatever the tokenizer changed."""
        bytes_ = self.bytes if self.counted_bytes is None else self.counted_bytes
        return bits_per_byte(self.loss, tokens=self.tokens, bytes_=bytes_)


def bits_per_byte(loss: float, *, tokens: int, bytes_: int) -> float:
    """Nats per token → bits per byte; infinite where the targets stand for no bytes."""
    return loss / math.log(2) * tokens / bytes_ if bytes_ else math.inf


def scored_targets(length: int, sequence_length: int) -> int:
    """Number of targets that non-overlapping windows of T score of N tokens: ⌊(N-1)/T⌋·T, or all of a shorter text.

    The contest's default evaluation; its tail of less than a window is not scored.
    """
    return (length - 1) // sequence_length * sequence_length or max(length - 1, 0)


def spans(
    length: int, *, window: int, stride: int | None = None, documents: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Windows (K, 3) int64 over `length` tokens as (start, end, first).

    Inputs are start ... end-1; those from `first` on predict a target that is scored, the token after them. Without a
    `stride`, windows are adjacent and do not overlap (`scored_targets`). With a stride of 1 to `window`, each window
    scores its last `stride` targets, the first one all of its targets, and the tail is scored too: every target once,
    with at least window - stride tokens of context where the text has them. `documents` (ascending starts of documents,
    0 first) keep the context within a document and need a stride. Raises ValueError for a stride out of range.
    """
    if stride is None:
        targets = scored_targets(length, window)
        starts = np.arange(0, targets, min(window, targets)) if targets else np.empty(0, dtype=np.int64)
        return np.stack([starts, np.minimum(starts + window, targets), starts], axis=1)
    if not 1 <= stride <= window:
        raise ValueError(f"stride {stride} is not within 1 and the window {window}")
    edges = [0, length - 1] if documents is None else [*documents.tolist(), length - 1]
    found = [_sliding(low, high, window, stride) for low, high in pairwise(edges) if high > low]
    return np.concatenate(found) if found else np.empty((0, 3), dtype=np.int64)


def _sliding(low: int, high: int, window: int, stride: int) -> NDArray[np.int64]:
    """Windows whose scored inputs are `low` ... `high` - 1."""
    ends = np.minimum(np.arange(low + window, high + stride, stride, dtype=np.int64), high)
    ends = ends if len(ends) else np.array([high], dtype=np.int64)
    return np.stack([np.maximum(ends - window, low), ends, np.concatenate(([low], ends[:-1]))], axis=1)


def measure_loss(
    model: Transformer,
    tokens: NDArray[np.uint16],
    target_bytes: NDArray[np.int64],
    *,
    sequence_length: int,
    stride: int | None = None,
    documents: NDArray[np.int64] | None = None,
    device: torch.device | None = None,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Score:
    """Score `tokens` (N,), BOS included, in the windows of `spans`; losses are summed in float64.

    The score does not depend on the number of threads. `target_bytes` (N-1,) holds the bytes of text that each target
    stands for. `stop` may raise to end the work early.
    """
    places = spans(len(tokens), window=sequence_length, stride=stride, documents=documents)
    # sorted by length, then in the order of the text
    lengths = places[:, 1] - places[:, 0]
    places = places[np.argsort(-lengths, kind="stable")]
    longest = int(lengths.max(initial=1))
    per_pass = windows_per_pass(model.shape, model.vocab_size, longest)
    running = np.concatenate(([0], np.cumsum(target_bytes, dtype=np.int64)))
    targets = int((places[:, 1] - places[:, 2]).sum())
    scored_bytes = int((running[places[:, 1]] - running[places[:, 2]]).sum())
    model.eval()
    device = device or model.embedding.weight.device

    def passes() -> Iterator[NDArray[np.int64]]:
        for done in range(0, len(places), per_pass):
            if stop is not None:
                stop()
            if progress is not None:
                progress(done / len(places))
            yield places[done : done + per_pass]

    with polled(model, stop):
        total = sum(parallel_map(lambda some: _scored_loss(model, tokens, some, device), passes(), device=device))
    return Score(loss=total / targets if targets else math.nan, tokens=targets, bytes=scored_bytes)


def windows_per_pass(shape: Shape, vocab_size: int, length: int) -> int:
    """Windows of `length` tokens that are scored at once: as many as bound the largest activation of a pass."""
    return max(1, 4 * _BATCH_LOGITS // largest_activation(shape, vocab_size, sequence_length=length))


@contextmanager
def polled(model: Transformer, poll: Callable[[], None] | None) -> Iterator[None]:
    """Call `poll` before every block of a forward pass too, so that a long window can be stopped."""
    hooks = [] if poll is None else [each.register_forward_pre_hook(lambda *_: poll()) for each in model.blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def _scored_loss(
    model: Transformer, tokens: NDArray[np.uint16], places: NDArray[np.int64], device: torch.device
) -> float:
    """Sum of the losses, in nats, of the scored targets of some windows (K, 3), the longest first.

    Shorter windows are padded at their end, which causal attention hides from every scored prediction.
    """
    starts, ends, firsts = (column[:, None] for column in places.T)
    inputs = starts + np.arange(int(ends[0, 0] - starts[0, 0]) + 1)
    windows = torch.from_numpy(tokens[np.minimum(inputs, ends)].astype(np.int64)).to(device)
    losses = model.loss(windows, reduction="none").double()
    counts = (inputs[:, :-1] >= firsts) & (inputs[:, :-1] < ends)
    return float(losses.sum() if counts.all() else losses[torch.from_numpy(counts).to(device)].sum())
