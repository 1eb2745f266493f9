"""Set the strength of the rate penalty from the cap, before the first step."""

from __future__ import annotations

from golf.compress.size_estimate import affordable_bits
from golf.data.tokenizer import Tokenizer
from golf.model import Transformer
from golf.optim.rate_penalty import automatic_strength
from golf.recipe import Optimizer, Recipe


def with_strength(recipe: Recipe, model: Transformer, tokenizer: Tokenizer) -> Optimizer:
    """The recipe's optimizer with a number in place of an automatic strength."""
    section = recipe.optimizer
    if section.rate_penalty.strength != "auto":
        return section
    bits = affordable_bits(
        [p.numel() for p in model.parameters() if p.ndim == 2],
        other_bytes=bytes_besides_matrices(model, tokenizer),
        byte_budget=recipe.budget.cap - recipe.budget.code_bytes,
    )
    strength = automatic_strength(bits, optimizer=section.name, width=recipe.model.width)
    return section.model_copy(update={"rate_penalty": section.rate_penalty.model_copy(update={"strength": strength})})


def bytes_besides_matrices(model: Transformer, tokenizer: Tokenizer) -> int:
    """Bytes of an artifact that are no matrix and no manifest: the small tensors as bfloat16, and the tokenizer."""
    return sum(p.numel() * 2 for p in model.parameters() if p.ndim != 2) + tokenizer.packed_size
