"""A decoder-only transformer; all of its matrices are 2-D parameters that golf can pack.

Rotary embeddings (arXiv:2104.09864), RMSNorm without gain, grouped-query attention (arXiv:2305.13245) with normalised
queries and keys and a learned gain per query head, relu-squared MLP (arXiv:2109.08668), tied embeddings, logit softcap
(arXiv:2408.00118). Optional, all from the Parameter Golf contest: a smear gate (x_t + g ⊙ x_{t-1}); from its baseline,
U-Net skips, a mix of the embedding into each block's input, and scales of each block's outputs; depth recurrence
(arXiv:1807.03819); and the options of golf.model.blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golf.model.blocks import Block, norm
from golf.recipe import Model as Shape

# Opens every document, in the contest's shards and in golf's own.
BOS_ID = 1


def parameter_shapes(shape: Shape, vocab_size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of every parameter, without allocating any.

    A reader of untrusted files compares them with the declared shapes before it builds a model.
    """
    D, hidden = shape.width, shape.mlp_width
    kv_width = shape.kv_heads * shape.head_width
    if shape.smear:
        yield "smear_gate", (D,)
    yield "embedding.weight", (vocab_size, D)
    for layer in range(shape.layers):
        block = f"blocks.{layer}"
        if shape.residual_mix:
            yield f"{block}.mix_stream", (D,)
            yield f"{block}.mix_embedding", (D,)
        if shape.output_scales:
            yield f"{block}.attention_scale", (D,)
            yield f"{block}.mlp_scale", (D,)
        if _takes_skip(shape, layer):
            yield f"{block}.skip_scale", (D,)
        yield f"{block}.attention.query_gain", (shape.heads,)
        yield f"{block}.attention.query.weight", (D, D)
        yield f"{block}.attention.key.weight", (kv_width, D)
        yield f"{block}.attention.value.weight", (kv_width, D)
        yield f"{block}.attention.output.weight", (D, D)
        yield f"{block}.mlp.up.weight", (hidden, D)
        yield f"{block}.mlp.down.weight", (D, hidden)


def parameter_count(shape: Shape, vocab_size: int) -> int:
    """Number of weights; the tied embedding counts once."""
    return sum(math.prod(dims) for _, dims in parameter_shapes(shape, vocab_size))


def layer_order(shape: Shape) -> list[int]:
    """Layers in the order in which they are applied; recurring layers (depth recurrence) appear several times."""
    layers = list(range(shape.layers))
    if shape.recur_layers is None:
        return layers
    first, last = shape.recur_layers
    return layers[:first] + layers[first : last + 1] * shape.recur_times + layers[last + 1 :]


def skip_source(shape: Shape, position: int) -> int | None:
    """U-Net skips: the position in `layer_order` whose output is added to the input of `position`; None without.

    The second half takes outputs of the first half, the last one first.
    """
    again = 0 if shape.recur_layers is None else shape.recur_layers[1] - shape.recur_layers[0] + 1
    half = (shape.layers + again * (shape.recur_times - 1)) // 2
    source = 2 * half - 1 - position
    return source if 0 <= source < half <= position else None


def _takes_skip(shape: Shape, layer: int) -> bool:
    places = (position for position, each in enumerate(layer_order(shape)) if each == layer)
    return shape.skips and any(skip_source(shape, position) is not None for position in places)


def role(name: str) -> str:
    """A parameter's role, its name without the layer: `embedding`, `attention.query`, `mlp.down`, ..."""
    parts = [part for part in name.split(".") if not part.isdigit() and part not in ("blocks", "weight")]
    return ".".join(parts)


class Transformer(nn.Module):
    """The model as an nn.Module: tokens to next-token logits; uninitialized until `initialize`."""

    def __init__(self, shape: Shape, vocab_size: int) -> None:
        """Allocate the parameters named by `parameter_shapes`."""
        super().__init__()
        self.shape, self.vocab_size = shape, vocab_size
        if shape.smear:
            self.smear_gate = nn.Parameter(torch.empty(shape.width))
        self.embedding = nn.Embedding(vocab_size, shape.width, _weight=torch.empty(vocab_size, shape.width))
        self.blocks = nn.ModuleList(
            Block(shape, layer, skips=_takes_skip(shape, layer)) for layer in range(shape.layers)
        )
        self._order = layer_order(shape)
        self._sources = [skip_source(shape, position) if shape.skips else None for position in range(len(self._order))]
        self._rotary: tuple[Tensor, Tensor] | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) int64 → softcapped logits (B, T, V) float32."""
        x = norm(self.embedding(tokens))
        if self.shape.smear:
            x = x + self.smear_gate * _previous(x, tokens)
        rotary, embedded = self._rotary_tables(tokens.shape[1], x), x
        outputs: dict[int, Tensor] = {}
        for place, (layer, source) in enumerate(zip(self._order, self._sources, strict=True)):
            x = self.blocks[layer](x, embedded, None if source is None else outputs.pop(source), rotary)
            if place in self._sources:  # a later block reads it
                outputs[place] = x
        logits = F.linear(norm(x), self.embedding.weight).float()
        cap = self.shape.logit_softcap
        return cap * torch.tanh(logits / cap)

    def loss(self, windows: Tensor, *, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of windows (B, T+1) int64: each token predicts the next.

        `reduction` is torch's: "mean" over B·T targets, or "none" for a (B, T) result.
        """
        logits = self(windows[:, :-1])
        losses = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction=reduction)
        return losses.view(len(windows), -1) if reduction == "none" else losses

    def _rotary_tables(self, T: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (T, rotary_width / 2), cached for calls of one length and device."""
        known = self._rotary
        if known is None or known[0].shape[0] != T or known[0].device != like.device:
            with torch.inference_mode(False):  # cached for later calls, which may need gradients
                half = self.shape.rotary_width // 2
                frequencies = self.shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
                angles = torch.outer(torch.arange(T, dtype=torch.float64), frequencies)
                known = (angles.cos().float().to(like.device), angles.sin().float().to(like.device))
            self._rotary = known
        return known


@torch.no_grad()
def initialize(model: Transformer, *, seed: int) -> None:
    """Fill every parameter from `seed` alone, in the order of `parameter_shapes`.

    Matrices that write to the residual stream start at zero, so every block starts as the identity (as in the
    contest's baseline); the others start orthogonal, as orthogonalized updates are.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        fresh = torch.empty(parameter.shape)
        if name == "embedding.weight":
            fresh.normal_(std=model.shape.embedding_std, generator=generator)
        elif name == "smear_gate" or name.endswith("mix_embedding"):
            fresh.zero_()
        elif name.endswith(("mix_stream", "_scale")):
            fresh.fill_(1.0)
        elif name.endswith("query_gain"):
            fresh.fill_(model.shape.query_gain)
        elif name.endswith(("attention.output.weight", "mlp.down.weight")):
            fresh.zero_()
        else:
            nn.init.orthogonal_(fresh, generator=generator)
        parameter.copy_(fresh)


def _previous(x: Tensor, tokens: Tensor) -> Tensor:
    """Channels (B, T, D) of the token before each one; zeros at the start of a window and of a document."""
    shifted = F.pad(x[:, :-1], (0, 0, 1, 0))
    return shifted * (tokens != BOS_ID).unsqueeze(-1)
