"""A price on the weights' bits: after each optimizer step, entries of the matrices move towards zero and stop there.

Decoupled from the gradient, as AdamW's weight decay is: inside the gradient, Muon's orthogonalization would undo it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def soft_threshold_(weights: Sequence[Tensor], amount: float) -> None:
    """W ← sign(W) · max(|W| - amount, 0) in place: the proximal step of amount · ‖W‖₁.

    A Laplace code spends bits in proportion to |W|, so each bit has the same price. `amount` is in units of the
    weights; entries of at most that size become exactly 0.
    """
    if weights and amount > 0:
        torch._foreach_sub_(list(weights), [weight.clamp(-amount, amount) for weight in weights])
