"""What training and measuring cost, from the shape alone: a reader of untrusted files asks before it builds a model."""

from __future__ import annotations

import math
from collections import Counter

from golf.model.transformer import layer_order, parameter_shapes
from golf.recipe import Model as Shape

# FLOPs that a query-key pair costs beside its products (softmax), a channel of a block beside its products (norms,
# rotations, sums), and a logit (cap, softmax): set so that a CPU core needs about the same time for each.
_PAIR, _CHANNEL, _LOGIT = 40, 120, 120
# What calling a block costs, however little it has to do: .4 ms, in FLOPs of a CPU core.
_CALL = 15_000_000


def applied_weights(shape: Shape, vocab_size: int) -> int:
    """Number of weights that a token meets; recurring layers count each time they are applied."""
    times = Counter(layer_order(shape))
    return sum(
        math.prod(dims) * (times[int(name.split(".")[1])] if name.startswith("blocks.") else 1)
        for name, dims in parameter_shapes(shape, vocab_size)
    )


def flops_per_token(shape: Shape, vocab_size: int, sequence_length: int) -> int:
    """FLOPs of forward and backward for one token: 6 per weight + 12 D T per layer (arXiv:2204.02311, appendix B)."""
    weights = applied_weights(shape, vocab_size)
    return 6 * weights + 12 * len(layer_order(shape)) * shape.width * sequence_length


def forward_flops(shape: Shape, vocab_size: int, *, windows: int, sequence_length: int) -> int:
    """FLOPs of a pass over `windows` windows of T tokens, work that is no product reckoned in.

    A CPU core does 1 to 6 · 10^10 of them in a second, over thirteen shapes from narrow to wide (docs/log.md); the
    products alone are `flops_per_token` / 3 a token.
    """
    T, D, hidden = sequence_length, shape.width, shape.mlp_width
    weights, blocks = applied_weights(shape, vocab_size), len(layer_order(shape))
    pairs = T * T // 2 * shape.heads
    token = 2 * weights + blocks * _CHANNEL * (D + hidden) + _LOGIT * vocab_size
    return windows * (T * token + blocks * pairs * (4 * shape.head_width + _PAIR)) + blocks * _CALL


def largest_activation(shape: Shape, vocab_size: int, *, sequence_length: int) -> int:
    """Bytes of the largest float32 activation of one window of T tokens."""
    return 4 * sequence_length * max(vocab_size, shape.mlp_width, shape.width)
