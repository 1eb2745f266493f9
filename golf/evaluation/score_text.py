"""Measure a model on a text: its loss, and what its tokenizer left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from golf.data import EvaluationText, Tokenizer
from golf.evaluation.loss import Score, measure_loss
from golf.evaluation.restore import restoring_bits
from golf.model import Transformer


def score_text(
    model: Transformer,
    text: EvaluationText,
    tokenizer: Tokenizer,
    *,
    sequence_length: int,
    stride: int | None = None,
    resets: NDArray[np.int64] | None = None,
    device: torch.device,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Score:
    """Score of the model on the text's tokens, in the windows of `golf.evaluation.loss.spans`.

    Its bytes are the text's own, and what restoring them costs is counted; for tokens without documents (shards) they
    are those that the tokenizer says.
    """
    found = measure_loss(
        model,
        text.tokens,
        tokenizer.byte_counts(text.tokens),
        sequence_length=sequence_length,
        stride=stride,
        documents=resets,
        device=device,
        progress=progress,
        stop=stop,
    )
    if text.documents is None:
        return found
    pairs = list(text.pairs(tokenizer, found.tokens + 1))
    return replace(
        found,
        bytes=sum(len(original) for _, original in pairs),
        restoring_bits=restoring_bits(pairs, poll=stop),
        counted_bytes=found.bytes,
    )


def text_sha256(text: EvaluationText, tokenizer: Tokenizer, targets: int, *, decoded: bool = False) -> str:
    """SHA-256 (hex) of the text of the first `targets` targets, with the token before them.

    `decoded` takes what the tokens decode to, as claims of format versions 1 to 8 do, and as there is no other text of
    shards.
    """
    digest = hashlib.sha256()
    if text.documents is None or decoded:
        for block in tokenizer.decoded_blocks(text.tokens[: targets + 1]):
            digest.update(block)
        return digest.hexdigest()
    for _, original in text.pairs(tokenizer, targets + 1):
        digest.update(original)
    return digest.hexdigest()
