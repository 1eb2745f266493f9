"""Convert parameter names and layout between the Parameter Golf baseline and golf, in both directions.

Law: `from_contest(to_contest(weights, shape), shape, V) == weights`.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from golf.errors import UsageError
from golf.model.transformer import parameter_shapes, skip_source
from golf.recipe import Model as Shape

Weights = dict[str, Tensor]

# golf's name of a tensor of block N ↔ the contest's.
_IN_BLOCK = {
    "attention.query.weight": "attn.c_q.weight",
    "attention.key.weight": "attn.c_k.weight",
    "attention.value.weight": "attn.c_v.weight",
    "attention.output.weight": "attn.proj.weight",
    "attention.query_gain": "attn.q_gain",
    "attention_scale": "attn_scale",
    "mlp_scale": "mlp_scale",
    "mlp.up.weight": "mlp.fc.weight",
    "mlp.down.weight": "mlp.proj.weight",
}
_EMBEDDING = ("embedding.weight", "tok_emb.weight")
# Rows of the contest's residual mix (2, D).
_MIX = ("mix_stream", "mix_embedding")
# Rotary tables that some scripts save; they are ignored, since they follow from the shape.
_DERIVED = re.compile(r"rotary\.|\.inv_freq$")
_MOST_NAMED = 6


def from_contest(state: Weights, shape: Shape, vocab_size: int) -> Weights:
    """golf's weights, float32, from the contest's `state`; raises UsageError naming every key that does not fit."""
    state = {_plain(name): tensor for name, tensor in state.items() if not _DERIVED.search(name)}
    wanted = _contest_shapes(shape, vocab_size)
    problems = [f"lacks {name}" for name in wanted if name not in state]
    problems += [f"has {name}, which the recipe's model has not" for name in state if name not in wanted]
    problems += [
        f"{name} is {_show(state[name])}, the recipe's model wants {_show(dims)}"
        for name, dims in wanted.items()
        if name in state and tuple(state[name].shape) != dims
    ]
    if problems:
        more = f"; and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise UsageError("; ".join(problems[:_MOST_NAMED]) + more)
    return {name: _take(state, name, shape).float().clone() for name, _ in parameter_shapes(shape, vocab_size)}


def to_contest(weights: Weights, shape: Shape) -> Weights:
    """golf's `weights` under the contest's names and layout; raises UsageError for a model the baseline cannot hold."""
    if shape.smear:
        raise UsageError("the contest's baseline has no smear gate; this model cannot go by its names")
    found: Weights = {}
    for name, tensor in weights.items():
        block, own = _split(name)
        if own in _IN_BLOCK:
            found[f"{block}{_IN_BLOCK[own]}"] = tensor
        elif name == _EMBEDDING[0]:
            found[_EMBEDDING[1]] = tensor
    for layer in range(shape.layers) if shape.residual_mix else ():
        found[f"blocks.{layer}.resid_mix"] = torch.stack([weights[f"blocks.{layer}.{part}"] for part in _MIX])
    if shape.skips:
        layers = _skipping(shape)
        found["skip_weights"] = torch.stack([weights[f"blocks.{layer}.skip_scale"] for layer in layers])
    return found


def _contest_shapes(shape: Shape, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters by the contest's names."""
    empty = {name: torch.empty(dims, device="meta") for name, dims in parameter_shapes(shape, vocab_size)}
    return {name: tuple(tensor.shape) for name, tensor in to_contest(empty, shape).items()}


def _take(state: Weights, name: str, shape: Shape) -> Tensor:
    """The tensor of golf's `name`, taken from the contest's `state`."""
    block, own = _split(name)
    if own in _IN_BLOCK:
        return state[f"{block}{_IN_BLOCK[own]}"]
    if own in _MIX:
        return state[f"{block}resid_mix"][_MIX.index(own)]
    if own == "skip_scale":
        return state["skip_weights"][_skipping(shape).index(int(block.split(".")[1]))]
    return state[_EMBEDDING[1]]


def _skipping(shape: Shape) -> list[int]:
    """Layers with a skip, in the order of the contest's skip weights."""
    return [layer for layer in range(shape.layers) if skip_source(shape, layer) is not None]


def _split(name: str) -> tuple[str, str]:
    """Split a name into its block, as `blocks.3.`, and the rest; the block is empty for parameters outside blocks."""
    match = re.match(r"(blocks\.\d+\.)(.+)", name)
    return (match[1], match[2]) if match else ("", name)


def _plain(name: str) -> str:
    """A key without the prefixes of torch.compile and DistributedDataParallel."""
    return name.removeprefix("module.").removeprefix("_orig_mod.")


def _show(dims: Tensor | tuple[int, ...]) -> str:
    return "x".join(map(str, dims.shape if isinstance(dims, Tensor) else dims))
