"""Tuning after packing: the symbols learn from the float model what all of their errors do together.

Rounding, however careful, treats matrices one by one, and the loss as quadratic. Here the packed model as a whole is
held against the float one on TRAINING text: minimise  KL(float ‖ packed) + λ · bits  over the targets that symbols are
rounded from, with gradients passed straight through the rounding (arXiv:1308.3432), λ being the price of a bit at the
global step. In scaled coordinates every target minds a change equally, so one learning rate serves all. Gains and other
small tensors are tuned along; steps and factors stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from golf.compress.allocate import bit_price
from golf.compress.codec import Prepared, Tuned, targets_at
from golf.compress.factorize import Factors, LowRank, reconstruct
from golf.errors import Diverged
from golf.model import Transformer

# Learning rates, in steps and in the small tensors' own units, from a sweep on .6 M parameters (docs/log.md).
_LR = 0.02
_SMALL_LR = 0.003
_BETAS = (0.9, 0.95)
_EPS = 1e-12
# Batches over which the learning rate rises; behind them it falls to 0 along a line.
_WARMUP = 5


@dataclass(frozen=True)
class Tuning:
    """Matrices with tuned targets, tuned small tensors by name, and each batch's KL divergence in nats per token."""

    prepared: list[Prepared]
    small: dict[str, Tensor]
    divergences: list[float]


def tune(
    model: Transformer,
    prepared: list[Prepared],
    batches: Iterable[Tensor],
    *,
    count: int,
    scale: float,
    low_rank: LowRank,
    step: Callable[[float], None] = lambda _share: None,
) -> Tuning:
    """Tune what `prepared` packs to at the global step `scale` on `count` batches of windows (B, T+1) int64.

    `model` is the float model and stays as it is. Raises Diverged where the packed model's predictions are not finite.
    """
    device = model.embedding.weight.device
    matrices = [_Matrix(each, scale, low_rank, device) for each in prepared]
    fixed = {name: p.detach() for name, p in model.named_parameters()}
    small = {name: p.clone().requires_grad_() for name, p in fixed.items() if p.ndim != 2}
    learned = [each.targets for each in matrices if each.targets is not None]
    optimizer = torch.optim.Adam(
        [{"params": learned, "lr": _LR}, {"params": list(small.values()), "lr": _SMALL_LR}], betas=_BETAS, eps=_EPS
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / _WARMUP) * max(0.0, 1 - done / count)
    )
    price, divergences = bit_price(scale), []
    for index, batch in enumerate(batches):
        step(index / count)
        inputs = batch[:, :-1]
        weights: dict[str, Tensor] = {each.name: each.weights() for each in matrices} | small
        divergence = _divergence(model, weights, inputs)
        divergence.backward()  # type: ignore[no-untyped-call]
        for each in matrices:
            each.add_price_of_bits(price)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        divergences.append(float(divergence.detach()))
        if not math.isfinite(divergences[-1]):
            raise Diverged("tuning: the packed model's predictions are not finite; set pack.tune_tokens = 0")
    tuned = [each.result(before, scale) for each, before in zip(matrices, prepared, strict=True)]
    return Tuning(tuned, {name: p.detach() for name, p in small.items()}, divergences)


def _divergence(model: Transformer, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """KL(float ‖ packed) in nats per token on inputs (B, T)."""
    with torch.no_grad():
        wanted = model(inputs).flatten(0, 1).log_softmax(-1)
    found = functional_call(model, dict(weights), (inputs,)).flatten(0, 1).log_softmax(-1)
    return F.kl_div(found, wanted, log_target=True, reduction="batchmean")


class _Matrix:
    """One matrix as a function of its targets (M, N), in units of its steps."""

    def __init__(self, given: Prepared, scale: float, low_rank: LowRank, device: torch.device) -> None:
        factors, targets = targets_at(given, scale, low_rank=low_rank)
        self.name, self._factors = given.name, factors
        self._steps = torch.from_numpy(given.steps.relative()).mul_(given.base * scale).to(device)
        self._offset = _product(factors, device)
        self.targets: Tensor | None = None
        if targets is not None:
            self.targets = torch.from_numpy(targets).to(device).requires_grad_()
            # rms of the weights in units of each one's step; 1/12 is what rounding adds
            weighted = torch.from_numpy(targets).to(device) * self._steps
            self._variances = weighted.square().mean() / self._steps.square() + 1 / 12

    def weights(self) -> Tensor:
        """The decoded weights; their gradient goes to the targets as if nothing were rounded."""
        if self.targets is None:
            assert self._offset is not None
            return self._offset * self._steps
        rounded = self.targets + (self.targets.round() - self.targets).detach()
        return (rounded if self._offset is None else rounded + self._offset) * self._steps

    def add_price_of_bits(self, price: float) -> None:
        """Add the slope of λ · bits; a Gaussian symbol u of variance v costs u² / (2 v ln 2) bits and a constant."""
        if self.targets is not None and self.targets.grad is not None:
            self.targets.grad.addcdiv_(self.targets.detach(), self._variances, value=price / math.log(2))

    def result(self, given: Prepared, scale: float) -> Prepared:
        """`given` with the tuned targets."""
        if self.targets is None:
            return given
        targets = (self.targets.detach() * scale).cpu().numpy()
        return replace(given, tuned=Tuned(targets, self._factors, scale))


def _product(factors: Factors, device: torch.device) -> Tensor | None:
    """The decoded low-rank part (M, N) in units of the steps."""
    return torch.from_numpy(reconstruct(factors)).to(device) if factors.rank else None
