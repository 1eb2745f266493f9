"""Load a checkpoint's tensors into a Transformer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from golf.errors import DamagedCheckpoint
from golf.model import Transformer, parameter_shapes
from golf.recipe import Recipe


def check_finite(weights: Mapping[str, Tensor], *, source: str) -> None:
    """Raise DamagedCheckpoint naming the first of a checkpoint's tensors that is no float, NaN or infinite."""
    for name, weight in weights.items():
        if not weight.is_floating_point() or not bool(torch.isfinite(weight).all()):
            raise DamagedCheckpoint(f"{source}: {name}", "holds weights that are not finite; it cannot be used")


def load_model(tensors: dict[str, Tensor], recipe: Recipe, vocab_size: int, *, source: str) -> Transformer:
    """The transformer of `recipe` with a checkpoint's weights, float32 on the CPU.

    Where the checkpoint has a moving average of the weights (train.ema), it is loaded: validation losses of the
    training are the average's. `source` names the checkpoint in errors. Raises DamagedCheckpoint for weights of another
    shape, or not finite.
    """
    prefix = "average." if any(name.startswith("average.") for name in tensors) else "model."
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    check_finite(weights, source=source)
    # compared before a model of the recipe's size is allocated
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != dict(parameter_shapes(recipe.model, vocab_size)):
        raise DamagedCheckpoint(source, "its weights do not fit its own recipe")
    model = Transformer(recipe.model, vocab_size)
    model.load_state_dict(weights)
    return model
