"""Which ways to compress a model are worth trying at a byte budget: a pure function, and a table anyone can read.

Where there is text to fine-tune on, with `most` = ½ log₂(400 · tokens of fine-tuning / weights) bits a weight:

    bits a weight           the text still teaches    else
    below most - 1.5        fine-tuned                fine-tuned
    most - 1.5 to most      fine-tuned                fine-tuned, trellis
    above most              fine-tuned                as without text

Without text:

    bits a weight
    below 2                 trellis, plain integers
    from 2 on               trellis, trellis with low-rank factors

A gap of g nats per token divides by four with each bit, and fine-tuning finds what it is made of from so many tokens
a weight: it gains while 4^bits < 400 · tokens / weights. What is fine-tuned are plain integers, not a trellis's path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from golf.compress.low_rank import LowRank
from golf.packing.inputs import PackInputs
from golf.recipe import Pack

# Fine-tuning gained up to 3.0 bits at .17 tokens a weight (3 M weights), 3.5 at .9 (.6 M), 1.8 at .03 (17 M); of 49
# checkpoints of 1.2 M weights at .11 tokens a weight, it won on 49, 47, 42 and 17 at 1.0, 1.3, 1.6 and 2.0 bits
# (docs/log.md).
_SIGNAL = 400.0
# Fine-tuning always beat a trellis from this many bits below the rate at which it no longer gains.
_CLEAR = 1.5
# From this many bits a weight on a trellis is never worse than uniform quantization beyond noise (docs/log.md).
_TRELLIS_BITS = 2.0
# Fine-tuning gains at any rate where it reads at least this share of the training's tokens: .04 to .09 nats per token
# at shares of .2 and more (docs/log.md). Not on models so large that it gains only below _TRELLIS_BITS.
_TEACHING_SHARE = 0.1
# With `pack.tune_tokens` = "auto": a share of the training's tokens, and tokens a weight. After 14 tokens a weight, at
# 1.3 bits, the share is worth .05 to .1 nats per token over 3 % (docs/log.md).
TUNING_SHARE, _LEAST_TUNING, _MOST_TUNING = 1 / 8, 262_144, 2
# Up to four epochs of a text are worth nearly as much as fresh text (arXiv:2305.16264).
_MOST_READINGS = 4


@dataclass(frozen=True)
class Method:
    """One compression method: the residual's quantizer, low-rank factors or not, fine-tuning or not."""

    quantizer: Literal["uniform", "trellis"]
    low_rank: LowRank
    fine_tune: bool = False

    @property
    def name(self) -> str:
        """The method's name in tables, notes and --json."""
        factors = {"off": "", "auto": " + low rank", "only": ", low rank alone"}[self.low_rank]
        return f"{self.quantizer}{factors}{' + fine-tuning' if self.fine_tune else ''}"


@dataclass(frozen=True)
class Methods:
    """The methods to try, the most promising first, and the reasons against others."""

    tried: tuple[Method, ...]
    skipped: dict[Method, str]
    tokens: int
    """Tokens of fine-tuning."""
    text_share: float
    """Share of the text's own cross-entropy in fine-tuning's loss."""


@dataclass(frozen=True)
class Case:
    """What the choice of methods depends on, besides the recipe's [pack]."""

    weights: int
    byte_budget: int
    tokens: int
    """Tokens of fine-tuning: the recipe's, or as many as the clock allows."""
    tokens_trained: int
    text_tokens: int

    @classmethod
    def of(cls, inputs: PackInputs, byte_budget: int) -> Case:
        """The case of a trained model at a byte budget."""
        return cls(
            weights=(weights := sum(p.numel() for p in inputs.model.parameters() if p.ndim == 2)),
            byte_budget=byte_budget,
            tokens=tuning_tokens(inputs.recipe.pack, tokens_trained=inputs.tokens_trained, weights=weights),
            tokens_trained=inputs.tokens_trained,
            text_tokens=len(inputs.data.train),
        )

    @property
    def bits(self) -> float:
        """Bits per weight of the whole file."""
        return 8 * self.byte_budget / self.weights


def methods(section: Pack, case: Case) -> Methods:
    """The methods to try for `case` under the recipe's [pack], most often one or two."""
    share = text_share(section, case)
    most = 0.5 * math.log2(_SIGNAL * case.tokens / case.weights) if case.tokens else -math.inf
    teaches = share > 0 and most >= _TRELLIS_BITS and case.tokens >= _TEACHING_SHARE * case.tokens_trained
    only: LowRank = "only" if section.low_rank == "only" else "off"
    plain, trellis = Method("uniform", only), Method("trellis", only)
    tuned = replace(plain, fine_tune=True)
    factors = replace(plain if section.quantizer == "uniform" else trellis, low_rank="auto")
    skipped: dict[Method, str] = {}
    if section.quantizer == "trellis":
        skipped[tuned] = 'pack.quantizer = "trellis"'
    elif not case.tokens:
        skipped[tuned] = "there is no text for it: pack.tune_tokens is 0, or the clock leaves no time"
    elif not teaches and case.bits >= most:
        skipped[tuned] = f"{case.tokens:,} tokens are too few for {case.weights:,} weights from {most:.1f} bits on"
    elif teaches or case.bits < most - _CLEAR:
        skipped[trellis] = "fine-tuning wins here" + (", since there is enough fresh text" if teaches else "")
    roomy = tuned in skipped and case.bits >= _TRELLIS_BITS
    if roomy and only == "off" and section.quantizer == "auto":
        skipped[plain] = f"a trellis is never worse from {_TRELLIS_BITS:g} bits on"
    if only == "only" and section.quantizer == "auto":
        skipped[trellis] = "without a residual there is nothing that a trellis would round"
    if not roomy:
        skipped[factors] = f"factors won neither below {_TRELLIS_BITS:g} bits nor beside fine-tuning"
    if section.low_rank != "auto":
        skipped[factors] = f'pack.low_rank = "{section.low_rank}"'
    # what is fine-tuned is rounded first
    rounded = [trellis, plain, factors] if tuned in skipped else [tuned, trellis, factors]
    named = [each for each in rounded if section.quantizer in ("auto", each.quantizer)]
    skipped |= {each: f'pack.quantizer = "{section.quantizer}"' for each in rounded if each not in named}
    tried = tuple(each for each in named if each not in skipped) or (named[0],)
    reasons = {each: reason for each, reason in skipped.items() if each not in tried}
    return Methods(tried, reasons, case.tokens, share)


def tuning_tokens(section: Pack, *, tokens_trained: int, weights: int) -> int:
    """Tokens of fine-tuning: the recipe's, or a share of the training's that grows with it."""
    if section.tune_tokens != "auto":
        return section.tune_tokens
    return max(_LEAST_TUNING, min(round(TUNING_SHARE * tokens_trained), _MOST_TUNING * weights))


def text_share(section: Pack, case: Case) -> float:
    """Share of the text's own cross-entropy in fine-tuning's loss: the recipe's, or 0 for text read too many times.

    Fine-tuning would overfit to such text, and held-out training text, which the training has read, cannot show it.
    """
    fresh = case.tokens_trained + case.tokens <= _MOST_READINGS * case.text_tokens
    return section.tune_text if fresh else 0.0
