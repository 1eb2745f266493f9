"""Prove a verdict: code a text with the model's own probabilities, and restore it from the code alone.

An arithmetic coder spends -log2 p bits on a token that a model gives the probability p, so a loss is the length of a
file. The decoder has the model, the code, and the script that restores what the tokenizer leaves out. It predicts token
after token from those it has decoded, as the encoder did. That is slow: every token is a forward pass of its window's
beginning, once to encode and once to decode. Both sides make the same calls in the same order, since another batch
could change a probability's last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import constriction
import numpy as np
import torch
from numpy.typing import NDArray

from golf.data import EvaluationText, Tokenizer
from golf.evaluation.loss import polled, spans
from golf.evaluation.restore import edit_script, restore
from golf.evaluation.results import Proof
from golf.evaluation.score_text import score_text
from golf.model import Transformer

# The coder's own bits: it ends on a whole word of 32, and holds one more.
_CODER_BITS = 96
# Its probabilities have 24 bits, which costs below 1e-4 of a real model's code. A token of less than 2^-24 is coded in
# fewer bits than its loss, so that a code may be shorter than the loss says; it must not be longer.
_CODER_SHARE = 1e-3

Tokens = NDArray[np.uint16]


def prove(
    model: Transformer,
    text: EvaluationText,
    tokenizer: Tokenizer,
    *,
    tokens: int,
    sequence_length: int,
    device: torch.device,
    progress: Callable[[float], None],
    stop: Callable[[], None],
) -> Proof:
    """Code at most `tokens` targets of the text, decode them, and compare text and length.

    Targets and windows are those of `measure_loss`, and the code's length is held against its loss on them.
    """
    given = text.first(tokens + 1)
    score = score_text(model, given, tokenizer, sequence_length=sequence_length, device=device, stop=stop)
    count = score.tokens + 1
    pairs = list(given.pairs(tokenizer, count))
    script = edit_script(pairs) if score.restoring_bits else None
    places = spans(count, window=sequence_length)
    share = iter(np.linspace(0, 1, 2 * score.tokens + 1))

    def step() -> None:
        stop()
        progress(float(next(share)))

    with polled(model, stop):
        code = _encode(model, given.tokens[:count], places, device, step)
        decoded = _decode(model, code, int(given.tokens[0]), places, device, step)
    if given.documents is None:  # shards hold no text: what comes back are tokens
        text_bytes, came_back = None, bool(np.array_equal(decoded, given.tokens[:count]))
    else:
        original = b"".join(original for _, original in pairs)
        spelled = tokenizer.decode(decoded)
        text_bytes, came_back = len(original), original == (spelled if script is None else restore(spelled, script))
    bits = score.loss / math.log(2) * score.tokens
    code_bits = 32 * len(code)
    return Proof(
        tokens=score.tokens,
        text_bytes=text_bytes,
        code_bytes=4 * len(code),
        script_bytes=0 if script is None else len(script),
        expected_bits=bits,
        restored=came_back,
        held=code_bits <= (1 + _CODER_SHARE) * bits + _CODER_BITS,
    )


def _encode(
    model: Transformer, tokens: Tokens, places: NDArray[np.int64], device: torch.device, step: Callable[[], None]
) -> NDArray[np.uint32]:
    """Words (n,) uint32 that code all of `tokens` (N,) but the first."""
    encoder = constriction.stream.queue.RangeEncoder()
    for start, end in _contexts(places):
        step()
        encoder.encode(int(tokens[end]), _prediction(model, tokens[start:end], device))
    words: NDArray[np.uint32] = encoder.get_compressed()
    return words


def _decode(
    model: Transformer,
    code: NDArray[np.uint32],
    first: int,
    places: NDArray[np.int64],
    device: torch.device,
    step: Callable[[], None],
) -> Tokens:
    """Tokens (N,) uint16 of a code, after the `first` one."""
    decoder = constriction.stream.queue.RangeDecoder(code)
    tokens = [first]
    for start, end in _contexts(places):
        step()
        known = np.array(tokens[start:end], dtype=np.uint16)
        tokens.append(int(decoder.decode(_prediction(model, known, device))))
    return np.array(tokens, dtype=np.uint16)


def _contexts(places: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The context [start, end) of every target, in their order; the target is token `end`."""
    for start, stop, first in places.tolist():
        for end in range(first + 1, stop + 1):
            yield start, end


@torch.inference_mode()
def _prediction(model: Transformer, context: Tokens, device: torch.device) -> constriction.stream.model.Categorical:
    """The model's distribution of the token after `context` (t,)."""
    logits = model(torch.from_numpy(context.astype(np.int64))[None].to(device))[0, -1].double().cpu()
    return constriction.stream.model.Categorical(torch.softmax(logits, dim=-1).numpy(), perfect=False)
