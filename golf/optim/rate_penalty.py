"""A price on the weights' bits: after each optimizer step, entries of the matrices move towards zero and stop there.

Decoupled from the gradient, as AdamW's weight decay is: inside the gradient, Muon's orthogonalization would undo it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Shapes ν of generalized Gaussian densities from very peaked to flatter than a Gaussian (2), as BackSlash tabulates.
_SHAPES = torch.linspace(0.1, 3.0, 291, dtype=torch.float64)


@torch.no_grad()
def soft_threshold_(weights: Sequence[Tensor], amount: float) -> None:
    """W ← sign(W) · max(|W| - amount, 0) in place: the proximal step of amount · ‖W‖₁.

    A Laplace code spends bits in proportion to |W|, so each bit has the same price. `amount` is in units of the
    weights; entries of at most that size become exactly 0.
    """
    if weights and amount > 0:
        torch._foreach_sub_(list(weights), [weight.clamp(-amount, amount) for weight in weights])


@torch.no_grad()
def generalized_threshold_(weights: Sequence[Tensor], amount: float) -> None:
    """Move entries along the slope of the rate of one generalized Gaussian code for all `weights`, in place.

    W ← sign(W) · max(|W| - amount · s(|W|), 0) with s(w) = w^(ν-1) · mean |W| / mean |W|^ν: the slope of
    -log p(w), p ∝ exp(-(w/α)^ν) with α of maximum likelihood, in units in which ν = 1 is `soft_threshold_`
    (BackSlash, arXiv:2504.16968, decoupled and with a stop at zero). ν is estimated by moments.
    """
    if not weights or amount <= 0:
        return
    sizes = [weight.abs() for weight in weights]
    count = sum(size.numel() for size in sizes)
    mean = torch.stack([size.sum() for size in sizes]).sum() / count
    shape = shape_by_moments(mean, torch.stack([size.square().sum() for size in sizes]).sum() / count)
    # |W|^(ν-1), faster than pow; infinite or NaN at 0, where an entry stays
    slopes = [size.log().mul_(shape - 1).exp_() for size in sizes]
    powers = torch.stack([(slope * size).nan_to_num(0.0).sum() for slope, size in zip(slopes, sizes, strict=True)])
    price = amount * mean / (powers.sum() / count)
    for weight, slope in zip(weights, slopes, strict=True):
        most = slope * price
        weight.sub_(weight.clamp(-most, most).nan_to_num_(0.0))  # where all are 0, nothing moves


def shape_by_moments(mean: Tensor, mean_square: Tensor) -> Tensor:
    """The shape ν of a generalized Gaussian density with E|w| and E w² (0-dimensional): 2 is Gaussian, 1 Laplace.

    E w² / (E|w|)² = Γ(1/ν) Γ(3/ν) / Γ(2/ν)², which falls with ν (Sharifi & Leon-Garcia 1995); ν is in [.1, 3].
    """
    one, two, three = (torch.lgamma(k / _SHAPES) for k in (1, 2, 3))
    logs = (one + three - 2 * two).flip(0).to(mean.device, mean.dtype)
    shapes = _SHAPES.flip(0).to(mean.device, mean.dtype)
    wanted = (mean_square / mean.square()).log().clamp(logs[0], logs[-1])
    above = torch.searchsorted(logs, wanted).clamp(1, len(logs) - 1)
    share = (wanted - logs[above - 1]) / (logs[above] - logs[above - 1])
    return torch.lerp(shapes[above - 1], shapes[above], share)
