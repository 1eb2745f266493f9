"""The speed of a recipe's training on this machine, from a few steps on random tokens; no text is read."""

from __future__ import annotations

import time

import torch

from golf.model import Transformer, initialize
from golf.optim import Optimizers
from golf.recipe import Recipe
from golf.training.results import Speed
from golf.training.state import precision


def measure_speed(recipe: Recipe, *, device: torch.device, seconds: float = 2.0) -> Speed:
    """Take steps for about `seconds`, at least one after the first, which only warms up; the mean of them counts.

    A batch must fit into memory as one piece: this is for small recipes, the quickstart above all.
    """
    section, vocab = recipe.train, recipe.tokenizer.vocab_size
    model = Transformer(recipe.model, vocab)
    initialize(model, seed=recipe.seed)
    optimizers = Optimizers(recipe.optimizer, model.to(device))
    rows = section.batch_tokens // section.sequence_length
    windows = torch.randint(vocab, (rows, section.sequence_length + 1), device=device)
    started, done = 0.0, -1
    while done < 1 or time.perf_counter() - started < seconds:
        with precision(device):
            loss = model.loss(windows)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizers.step()
        optimizers.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        done += 1
        if done == 0:
            started = time.perf_counter()
    step = (time.perf_counter() - started) / done
    return Speed(recipe.name, section.steps, device.type, section.batch_tokens / step, section.steps * step)
