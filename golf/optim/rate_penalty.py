"""A price on the weights' bits: after each optimizer step, entries of the matrices move towards zero and stop there.

W ← sign(W) · max(|W| - amount, 0), the amount in proportion to the slope of the code length. Decoupled from the
gradient, as AdamW's weight decay is: inside the gradient, Muon's orthogonalization would undo it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Shapes ν of generalized Gaussian densities from very peaked to flatter than a Gaussian (2), as BackSlash tabulates.
_SHAPES = torch.linspace(0.1, 3.0, 291, dtype=torch.float64)


@torch.no_grad()
def shrink_(weight: Tensor, amount: Tensor | float) -> None:
    """W ← sign(W) · max(|W| - amount, 0) in place; `amount` ≥ 0 is one number or has an entry for each weight.

    With one number it is the proximal step of amount · ‖W‖₁, the length of a Laplace code. NaN leaves an entry alone.
    """
    limit = torch.as_tensor(amount, dtype=weight.dtype, device=weight.device)
    weight.sub_(weight.clamp(-limit, limit).nan_to_num_(0.0))


@torch.no_grad()
def code_slopes(weights: Sequence[Tensor]) -> list[Tensor]:
    """Slope at each weight of the length of one generalized Gaussian code for all `weights`; 1 for a Laplace density.

    s(w) = |w|^(ν-1) · mean |W| / mean |W|^ν: the slope of -log p(w), p ∝ exp(-(|w| / α)^ν) with α of maximum
    likelihood, over the Laplace code's 1 / mean |W| (BackSlash, arXiv:2504.16968). ν is estimated by moments. At w = 0
    it may be infinite or NaN.
    """
    sizes = [weight.abs() for weight in weights]
    count = sum(size.numel() for size in sizes)
    mean = torch.stack([size.sum() for size in sizes]).sum() / count
    shape = shape_by_moments(mean, torch.stack([size.square().sum() for size in sizes]).sum() / count)
    slopes = [size.log().mul_(shape - 1).exp_() for size in sizes]  # faster than pow
    powers = torch.stack([(slope * size).nan_to_num_(0.0).sum() for slope, size in zip(slopes, sizes, strict=True)])
    return [slope.mul_(mean / (powers.sum() / count)) for slope in slopes]


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


def strength_of_price(weight: Tensor, group: dict[str, Any], state: dict[str, Any], rank: int, price: float) -> Tensor:
    """The strength, over the learning rate, that gives a bit the `price` of so many nats per token.

    A Laplace code has 1 / (ln 2 · mean |W|) bits for each unit of a weight, times `price` that is a gradient like the
    loss's own. What the optimizer makes of the loss's gradient it would make of this one: Muon scales the momentum to
    the length √rank times its shape factor, AdamW divides by √v.
    """
    slope = price / (math.log(2) * weight.abs().mean())
    if "exp_avg_sq" in state:
        seen = 1 - group["betas"][1] ** state["step"].to(weight.device)
        return slope / ((state["exp_avg_sq"] / seen).sqrt_() + group["eps"])
    rows, columns = weight.shape
    length = math.sqrt(rank * max(1.0, rows / columns))
    return slope * length / state["momentum_buffer"].norm()
