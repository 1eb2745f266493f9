"""Sliding evaluation beside the bare forward pass of the same batches of windows, in one run.

    python -m experiments.sliding.run [--out FILE] [--recipe quickstart] [--tokens 16384] [--stride 64] [--turns 5]

The bare pass takes the batches that the evaluation takes, already in memory, through the model to its logits and does
nothing with them: no loss, no counting, no bytes. Both take turns, after one that warms up, so that a busy machine
disturbs both alike; speeds are medians of turns in tokens that pass through the model per second, their ratio is the
median of the turns' ratios. What the model has learnt does not matter: its weights are the recipe's first ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.records import add_out_option, append, circumstances
from golf.evaluation.loss import measure_loss
from golf.model import Transformer, initialize
from golf.recipe import Recipe, find_recipe, load_recipe

RESULTS = Path(__file__).with_name("results.jsonl")
BAR = 0.9


class Recorder(Transformer):
    """A model that keeps the batches it is given."""

    batches: list[torch.Tensor]

    def loss(self, windows: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
        """Keep the windows (B, T+1)."""
        self.batches.append(windows)
        return super().loss(windows, reduction=reduction)


def bare(model: Transformer, batches: list[torch.Tensor]) -> float:
    """Seconds of the forward pass alone."""
    started = time.perf_counter()
    with torch.inference_mode():
        for windows in batches:
            model(windows[:, :-1])
    return time.perf_counter() - started


def sliding(model: Transformer, tokens: NDArray[np.uint16], window: int, stride: int) -> float:
    """Seconds of golf's evaluation, the text's bytes known."""
    target_bytes = np.ones(len(tokens) - 1, dtype=np.int64)
    started = time.perf_counter()
    measure_loss(model, tokens, target_bytes, sequence_length=window, stride=stride)
    return time.perf_counter() - started


def measure(recipe: Recipe, *, passing: int, stride: int, turns: int) -> dict[str, Any]:
    """Speeds of both and their ratio, with its quartiles."""
    T, vocab = recipe.train.sequence_length, recipe.tokenizer.vocab_size
    windows = max(1, passing // T)
    tokens = np.random.default_rng(0).integers(4, vocab, T + 1 + (windows - 1) * stride).astype(np.uint16)
    recorder = Recorder(recipe.model, vocab)
    initialize(recorder, seed=0)
    recorder.batches = []
    sliding(recorder, tokens, T, stride)
    batches, passed = recorder.batches, sum(each[:, :-1].numel() for each in recorder.batches)
    model = Transformer(recipe.model, vocab).eval()
    initialize(model, seed=0)
    bare(model, batches)
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(sliding(model, tokens, T, stride))
        theirs.append(bare(model, batches))
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    return {
        "window": T,
        "stride": stride,
        "windows": windows,
        "tokens_through_the_model": passed,
        "tokens_scored": len(tokens) - 1,
        "sliding_tokens_per_s": round(passed / statistics.median(ours)),
        "bare_tokens_per_s": round(passed / statistics.median(theirs)),
        "ratio": middle,
        "quartiles": [low, high],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, RESULTS)
    parser.add_argument("--recipe", action="append", help="may be given several times; default quickstart")
    parser.add_argument("--tokens", type=int, default=16_384, help="that pass through the model in one turn, about")
    parser.add_argument("--stride", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.recipe or ["quickstart"]:
        recipe = load_recipe(find_recipe(name))
        found = measure(recipe, passing=arguments.tokens, stride=arguments.stride, turns=arguments.turns)
        low, high = found["quartiles"]
        print(
            f"{name}: window {found['window']}, stride {found['stride']}: {found['sliding_tokens_per_s']:,} tokens/s, "
            f"bare {found['bare_tokens_per_s']:,}; {found['ratio']:.3f}x ({low:.3f}-{high:.3f}), bar {BAR}"
        )
        about = circumstances() | {"threads": arguments.threads, "bar": BAR, "recipe": name}
        append(arguments.out, about | found)


if __name__ == "__main__":
    main()
