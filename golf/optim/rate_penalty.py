"""A price on the weights' bits: after each optimizer step, entries of the matrices move towards zero and stop there.

Decoupled from the gradient, as AdamW's weight decay is: inside the gradient, Muon's orthogonalization would undo it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Of automatic strengths, in updates, and their fall with each bit, in powers of 2: through the best of fixed strengths
# at 1.3 and 2.7 bits a weight after 14 tokens a parameter, .018 and .005 at width 128 (experiments/rate_training).
_PRICE, _FALL = 0.64, 1.3
# The usual rms of AdamW's update over its learning rate (arXiv:2502.16982, section 2.2: .2 to .4).
_ADAMW_UPDATE = 0.3

# Shapes ν of generalized Gaussian densities, from flatter than a Gaussian (2) to very peaked, as BackSlash tabulates,
# and log E w² / (E|w|)² = log Γ(1/ν) Γ(3/ν) / Γ(2/ν)² of each, which rises (Sharifi & Leon-Garcia 1995).
_SHAPES = torch.linspace(3.0, 0.1, 291, dtype=torch.float64)
_LOG_RATIOS = torch.lgamma(1 / _SHAPES) + torch.lgamma(3 / _SHAPES) - 2 * torch.lgamma(2 / _SHAPES)


def automatic_strength(bits: float, *, optimizer: str, width: int) -> float:
    """The L1 strength for a cap of `bits` a weight: a price of bits that falls with them, in units of an update's size.

    At high rate the loss of rounding is D ~ 4^(-bits), and another bit saves 2 ln 2 D; at few bits the best strength
    falls more slowly. The price stands beside a gradient that the optimizer gives its own scale: an orthogonal update
    of a matrix (width, width) has entries of rms 1 / sqrt(width), AdamW's of about `_ADAMW_UPDATE`.
    """
    update = _ADAMW_UPDATE if optimizer == "adamw" else width**-0.5
    return float(_PRICE * 2.0 ** (-_FALL * bits) * update)


@torch.no_grad()
def soft_threshold_(weights: Sequence[Tensor], amount: float) -> None:
    """W ← sign(W) · max(|W| - amount, 0) in place: the proximal step of amount · ‖W‖₁.

    A Laplace code spends bits in proportion to |W|, so each bit has the same price. `amount` is in units of the
    weights; entries of at most that size become exactly 0.
    """
    if weights and amount > 0:
        torch._foreach_sub_(list(weights), [weight.clamp(-amount, amount) for weight in weights])


@torch.no_grad()
def generalized_gaussian_threshold_(weights: Sequence[Tensor], amount: float) -> None:
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

    Interpolated in a table over ν in [.1, 3].
    """
    logs, shapes = _LOG_RATIOS.to(mean), _SHAPES.to(mean)
    wanted = (mean_square / mean.square()).log().clamp(logs[0], logs[-1])
    above = torch.searchsorted(logs, wanted).clamp(1, len(logs) - 1)
    share = (wanted - logs[above - 1]) / (logs[above] - logs[above - 1])
    return torch.lerp(shapes[above - 1], shapes[above], share)
