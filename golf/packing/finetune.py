"""Tuning after packing: symbols learn from the float model, and from the text, what all of their errors do together.

Rounding, however careful, treats matrices one by one, and the loss as quadratic. Here the packed model as a whole reads
TRAINING text: minimise  (1 - a) KL(float ‖ packed) + a · loss + λ · bits  over the targets that symbols are rounded
from, with gradients passed straight through the rounding (arXiv:1308.3432). With a = 0 it mends what rounding broke;
where the text still has something to teach, a share a of the text's own loss makes the packed model better than the
float one (docs/log.md). λ, half the price of a bit at the global step to begin with, is what holds the symbols at the
bits that fill their room: many targets end next to a boundary, where another step would move all of them the same way
(docs/log.md), so the tuned pack must fit as it is. In scaled coordinates every target minds a change equally, so one
learning rate serves all. Gains and other small tensors are tuned along; steps and factors stay. Symbols are plain
integers: those of a trellis's path change several at a time, which drowns what single ones learn (docs/log.md).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golf.compress.context_coder import Histogram, fits, residual_classes
from golf.compress.context_scales import Spread, whole_spread
from golf.compress.encode_matrix import Prepared, Rounding, Tuned, round_matrices
from golf.compress.low_rank import Factors, LowRank, reconstruct
from golf.compress.quantize import Symbols
from golf.compress.rate_search import bit_price
from golf.errors import Diverged
from golf.model import Transformer
from golf.runtime.parallel import in_order

# Learning rates, in steps and in the small tensors' own units, from sweeps on .6 M and 3 M parameters (docs/log.md).
_LR = 0.01
_SMALL_LR = 0.003
_BETAS = (0.9, 0.95)
_EPS = 1e-12
# Batches over which the learning rate rises; behind them it falls to 0 along a line.
_WARMUP = 5
# λ over the price of a bit: where it starts, and what it gains for each unit of relative excess bits, and of their sum
# over batches; looked at every so many batches. Packs of .6 M and 3 M parameters settled at .05 to .6. Below 0, where
# what tuning learns takes bits away by itself, it is held near 0: bits for their own sake are worth nothing.
_START, _PROPORTIONAL, _INTEGRAL, _EVERY = 0.5, 150.0, 3.0, 4
_LEAST = -0.3
# After these shares of the batches the real size tells what the wanted bits are.
_WEIGHED_AT = (0.5, 0.8, 0.95)
# A batch is computed in so many parts, whatever the number of threads.
_PARTS = 4


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
    text_share: float = 0.0,
    spare: Callable[[Tuning], int] = lambda _tuning: 0,
    step: Callable[[float], None] = lambda _share: None,
) -> Tuning:
    """Tune what `prepared` packs to at the global step `scale` on `count` batches of windows (B, T+1) int64.

    `text_share` of the objective is the text's own loss, the rest the divergence from the float model. `spare` tells
    how many bytes a pack of what was tuned so far leaves of its room, and is asked a few times. `model` is the float
    model and stays as it is; `prepared` must not be for a trellis. Raises Diverged where the packed
    model's predictions are not finite.
    """
    device = model.embedding.weight.device
    found = in_order(lambda each: round_matrices([each], scale, low_rank=low_rank)[0], _watched(prepared, step))
    matrices = [_Matrix(each, scale, rounding, device) for each, rounding in zip(prepared, found, strict=True)]
    packed = copy.deepcopy(model)
    parameters = dict(packed.named_parameters())
    small = {name: p for name, p in parameters.items() if p.ndim != 2}
    optimizer, schedule = _optimizer(
        [t for t in (m.targets for m in matrices) if t is not None], list(small.values()), count
    )
    rate = _Rate(matrices, bit_price(scale))
    divergences: list[float] = []
    weighed_at = {round(share * count) for share in _WEIGHED_AT}

    def tuning() -> Tuning:
        tuned = [each.result(before, scale) for each, before in zip(matrices, prepared, strict=True)]
        return Tuning(tuned, {name: p.detach() for name, p in small.items()}, divergences)

    for index, batch in enumerate(batches):
        step(index / count)
        if index in weighed_at:
            rate.weighed(spare(tuning()))
        if index % _EVERY == 0:
            rate.control()
        for each in matrices:
            parameters[each.name].data.copy_(each.weights())
        divergences.append(_descend(model, packed, batch, text_share))
        for each in matrices:
            each.take_gradient(parameters[each.name], rate.price)
        optimizer.step()
        schedule.step()
        packed.zero_grad()
        if not math.isfinite(divergences[-1]):
            raise Diverged("tuning: the packed model's predictions are not finite; set pack.tune_tokens = 0")
    return tuning()


def _optimizer(
    targets: list[Tensor], small: list[torch.nn.Parameter], count: int
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    """Adam for `count` batches, and its learning rates."""
    optimizer = torch.optim.Adam(
        [{"params": targets, "lr": _LR}, {"params": small, "lr": _SMALL_LR}], betas=_BETAS, eps=_EPS
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / _WARMUP) * max(0.0, 1 - done / count)
    )


def _watched(prepared: list[Prepared], step: Callable[[float], None]) -> Iterator[Prepared]:
    for each in prepared:
        step(0.0)
        yield each


def _descend(model: Transformer, packed: Transformer, windows: Tensor, text_share: float) -> float:
    """KL(float ‖ packed) in nats per token on windows (B, T+1); the objective's gradient goes to `packed`."""
    parameters, total, count = list(packed.parameters()), 0.0, windows[:, 1:].numel()

    def part(some: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        inputs, targets = some[:, :-1], some[:, 1:].flatten()
        with torch.no_grad():
            wanted = model(inputs).flatten(0, 1).log_softmax(-1)
        with torch.enable_grad():
            found = packed(inputs).flatten(0, 1).log_softmax(-1)
            divergence = F.kl_div(found, wanted, log_target=True, reduction="sum") / count
            objective = divergence
            if text_share:
                text = F.nll_loss(found, targets, reduction="sum") / count
                objective = (1 - text_share) * divergence + text_share * text
        return float(divergence.detach()), torch.autograd.grad(objective, parameters)

    for divergence, gradients in in_order(part, windows.chunk(_PARTS), device=windows.device):
        total += divergence
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return total


class _Rate:
    """The price of a bit at which matrices stay at the bits that they had when this was made, or that fill the room."""

    def __init__(self, matrices: list[_Matrix], price: float) -> None:
        self._matrices, self._unit, self.price = matrices, price, price * _START
        self._wanted = self._bits()
        self._sum = 0.0

    def weighed(self, spare: int) -> None:
        """Want as many bits more as there are `spare` bytes: models of the code and tables differ from the file."""
        self._wanted = self._bits() + 8 * spare

    def control(self) -> None:
        """Raise the price where there are too many bits, lower it where too few."""
        excess = self._bits() / max(self._wanted, 1.0) - 1
        self._sum = max((_LEAST - _START) / _INTEGRAL, self._sum + excess * _EVERY)
        self.price = self._unit * max(_LEAST, _START + _PROPORTIONAL * excess + _INTEGRAL * self._sum)

    def _bits(self) -> float:
        histogram = Histogram()
        for each in self._matrices:
            each.count(histogram)
        return histogram.ideal_bits()


class _Matrix:
    """One matrix as a function of its targets (M, N), in units of its steps."""

    def __init__(self, given: Prepared, scale: float, rounding: Rounding, device: torch.device) -> None:
        factors, targets = rounding.factors, rounding.targets
        self.name, self._factors = given.name, factors
        self._steps = torch.from_numpy(given.steps.relative()).mul_(given.base * scale).to(device)
        self._offset = _product(factors, device)
        self.targets: Tensor | None = None
        if targets is not None:
            self.targets = torch.from_numpy(targets).to(device)
            symbols = self._symbols()
            spread = Spread(whole_spread(symbols, given.steps) if symbols.any() else 0, *given.offsets)
            self._classes = residual_classes(given.steps, spread).reshape(-1)
            # in units of each one's step; 1/12 is what rounding adds
            variances = torch.from_numpy(spread.variances()).to(device) / self._steps.square()
            level = float((self.targets.square() / variances).cpu().numpy().mean(dtype=np.float64))
            self._variances = variances.mul_(level).add_(1 / 12)

    def weights(self) -> Tensor:
        """The decoded weights."""
        if self.targets is None:
            return torch.zeros_like(self._steps) if self._offset is None else self._offset * self._steps
        rounded = self.targets.round()
        return (rounded if self._offset is None else rounded + self._offset) * self._steps

    def count(self, histogram: Histogram) -> None:
        """Add the symbols."""
        if self.targets is not None:
            symbols = self._symbols().reshape(-1)
            if fits(symbols, self._classes):
                histogram.add(symbols, self._classes)

    def take_gradient(self, weights: Tensor, price: float) -> None:
        """Pass the gradient at the decoded weights on to the targets, as if nothing were rounded.

        And add the slope of λ · bits; a Gaussian symbol u of variance v costs u² / (2 v ln 2) bits and a constant.
        """
        if self.targets is not None and weights.grad is not None:
            slope = weights.grad * self._steps
            self.targets.grad = slope.addcdiv_(self.targets, self._variances, value=price / math.log(2))

    def _symbols(self) -> Symbols:
        assert self.targets is not None
        return self.targets.round().to(torch.int32).cpu().numpy()

    def result(self, given: Prepared, scale: float) -> Prepared:
        """`given` with the tuned targets."""
        if self.targets is None:
            return given
        targets = (self.targets * scale).cpu().numpy()
        return replace(given, tuned=Tuned(targets, self._factors, scale))


def _product(factors: Factors, device: torch.device) -> Tensor | None:
    """The decoded low-rank part (M, N) in units of the steps."""
    return torch.from_numpy(reconstruct(factors)).to(device) if factors.rank else None
