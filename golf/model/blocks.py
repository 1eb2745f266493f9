"""One block of the transformer: attention and MLP, with options from the contest's entries.

Options: exclusive self-attention (attention's output minus its projection on the token's own value, from the contest),
parallel residuals (attention and MLP of one input, from GPT-J), rotary embeddings on a part of the channels (from
GPT-NeoX, arXiv:2204.06745), squared leaky ReLU (from the contest).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from golf.recipe import Model as Shape

# Slope of the leaky ReLU below zero before it is squared: that of the contest's entries.
_LEAK = 0.5


class Block(nn.Module):
    """Attention, then the MLP; with parallel residuals both have the same input and their outputs are added."""

    mix_stream: Tensor
    mix_embedding: Tensor
    attention_scale: Tensor
    mlp_scale: Tensor
    skip_scale: Tensor

    def __init__(self, shape: Shape, layer: int, *, skips: bool) -> None:
        """Allocate the parameters of block `layer`; with `skips` it takes an earlier block's output."""
        super().__init__()
        self.shape = shape
        self.parallel = shape.parallel_from is not None and layer >= shape.parallel_from
        vectors = {
            "mix_stream": shape.residual_mix,
            "mix_embedding": shape.residual_mix,
            "attention_scale": shape.output_scales,
            "mlp_scale": shape.output_scales,
            "skip_scale": skips,
        }
        for name, wanted in vectors.items():
            if wanted:
                self.register_parameter(name, nn.Parameter(torch.empty(shape.width)))
        self.attention = _Attention(shape, exclusive=layer >= shape.layers - shape.exclusive_layers)
        self.mlp = _Mlp(shape)

    def forward(self, x: Tensor, embedded: Tensor, skipped: Tensor | None, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, T, D) → (B, T, D); `embedded` (B, T, D) is the first block's input, `skipped` an earlier output."""
        if skipped is not None:
            x = x + self.skip_scale * skipped
        if self.shape.residual_mix:
            x = self.mix_stream * x + self.mix_embedding * embedded
        normed = norm(x)
        attended = self.attention(normed, rotary)
        x = x + (self.attention_scale * attended if self.shape.output_scales else attended)
        changed = self.mlp(normed if self.parallel else norm(x))
        return x + (self.mlp_scale * changed if self.shape.output_scales else changed)


class _Attention(nn.Module):
    def __init__(self, shape: Shape, *, exclusive: bool) -> None:
        super().__init__()
        self.exclusive = exclusive
        self.heads, self.kv_heads = shape.heads, shape.kv_heads
        kv_width = shape.kv_heads * shape.head_width
        self.query_gain = nn.Parameter(torch.empty(shape.heads))
        self.query = _linear(shape.width, shape.width)
        self.key = _linear(shape.width, kv_width)
        self.value = _linear(shape.width, kv_width)
        self.output = _linear(shape.width, shape.width)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """x (B, T, D) → (B, T, D)."""
        query = _rotate(norm(_split(self.query(x), self.heads)), rotary) * self.query_gain.view(-1, 1, 1)
        key = _rotate(norm(_split(self.key(x), self.kv_heads)), rotary)
        value = _split(self.value(x), self.kv_heads)
        mixed = F.scaled_dot_product_attention(
            query.to(value.dtype), key.to(value.dtype), value, is_causal=True, enable_gqa=True
        )
        if self.exclusive:
            mixed = _without_own(mixed, value)
        return self.output(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.leaky = shape.mlp_activation == "leaky_relu2"
        self.up = _linear(shape.width, shape.mlp_width)
        self.down = _linear(shape.mlp_width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        raised = self.up(x)
        return self.down((F.leaky_relu(raised, _LEAK) if self.leaky else F.relu(raised)).square())


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A bias-free linear map whose weight (outputs, inputs) is left for `initialize` or a checkpoint."""
    linear: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=False)  # type: ignore[no-untyped-call]
    return linear


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last dimension, without gain."""
    return F.rms_norm(x, (x.shape[-1],))


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, T, heads · width) → (B, heads, T, width)."""
    B, T, _ = x.shape
    return x.view(B, T, heads, -1).transpose(1, 2)


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate channel pairs (i, i + R/2) of the first R channels of x (B, H, T, width) by their position's angle."""
    cos, sin = rotary
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat((first * cos + second * sin, second * cos - first * sin, rest), dim=-1)


def _without_own(mixed: Tensor, value: Tensor) -> Tensor:
    """Each head's output (B, H, T, width) minus its projection on the value (B, KV, T, width) of its own token."""
    B, H, T, width = mixed.shape
    own = F.normalize(value, dim=-1).unsqueeze(2)
    grouped = mixed.view(B, value.shape[1], -1, T, width)
    return (grouped - (grouped * own).sum(-1, keepdim=True) * own).view(B, H, T, width)
