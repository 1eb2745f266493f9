"""Fine-tune quantized weights with a straight-through estimator, at a fixed size of the packed file.

GPTQ rounding treats matrices one by one and the loss as quadratic. Fine-tuning runs the whole packed model on TRAINING
text and minimizes  (1 - a) KL(float ‖ packed) + a · loss + λ · bits  over the targets that symbols are rounded from,
with gradients passed straight through the rounding (arXiv:1308.3432). With a = 0 it reduces the gap that rounding made;
with enough fresh text, a share a of the text's own cross-entropy makes the packed model better than the float one
(docs/log.md). In scaled coordinates the loss is equally sensitive to every target, so one learning rate fits all. Gains
and other small tensors are fine-tuned too; steps and factors stay. Symbols are those of uniform quantization: a change
of a trellis's path changes several symbols at once, which hides the gradient of single ones (docs/log.md).

Fine-tuned targets end next to rounding boundaries, where another step would move all of them the same way
(docs/log.md), so the fine-tuned pack must fit at its own step. The Lagrange multiplier λ is controlled by the excess
bits and lets gradients decide which symbols change. It cannot hold the number of bits alone, since it acts through a
learning rate that falls to 0. So in the second half targets are also projected onto the wanted bits, and in the end
onto the real bytes of the file.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from golf.compress.context_coder import Histogram, fits, residual_classes
from golf.compress.context_scales import ContextScales, whole_scale
from golf.compress.encode_matrix import (
    ROUNDING,
    CalibratedMatrix,
    FineTunedTargets,
    Rounding,
    round_matrices,
    shrinkage,
)
from golf.compress.low_rank import Factors, LowRank, reconstruct
from golf.compress.quantize import Symbols
from golf.compress.rate_search import bit_price
from golf.errors import Diverged
from golf.model import Transformer
from golf.packing.rate_control import EVERY, RateControl
from golf.runtime.parallel import parallel_map

# Learning rates, of targets in units of steps and of small tensors, from sweeps on .6 M and 3 M parameters
# (docs/log.md).
_LR = 0.01
_SMALL_LR = 0.003
_BETAS = (0.9, 0.95)
_EPS = 1e-12
# Batches over which the learning rate rises; after them it falls linearly to 0.
_WARMUP = 5
# After this share of the batches targets are also projected. With projections from the start on and λ = 0, or with a
# constant λ, a model of 12 training steps that learns from the text loses .1 or .3 nats (docs/log.md, 2026-11-28).
_HELD_FROM = 0.5
# After these shares of the batches, and at the end, the real file size sets the wanted bits.
_WEIGHED_AT = (0.0, 0.25, 0.5, 0.75)
# The file fills its budget up to this share of the symbols' bits, half of what a search may leave, or the best of this
# many builds is taken. Files of 3 to 15 kB jump by .3 to 2 % as their context scales are searched; the best build was
# within .32 % on 80 of them, and over half a percent on 2 of 40 others (docs/log.md, 2026-11-28).
_LANDED, _MOST_PROBES = 2.5e-4, 16
# A batch is computed in this many parts, whatever the number of threads, so that results do not depend on it.
_PARTS = 4


@dataclass(frozen=True)
class FineTuned:
    """Matrices with fine-tuned targets, small tensors by name, and each batch's KL divergence in nats per token."""

    matrices: list[CalibratedMatrix]
    small: dict[str, Tensor]
    divergences: list[float]


def finetune(
    model: Transformer,
    calibrated: list[CalibratedMatrix],
    batches: Iterable[Tensor],
    *,
    count: int,
    scale: float,
    low_rank: LowRank,
    text_share: float = 0.0,
    bytes_left: Callable[[FineTuned], int] = lambda _tuning: 0,
    off_the_clock: Callable[[], AbstractContextManager[None]] = nullcontext,
    progress: Callable[[float], None] = lambda _share: None,
) -> FineTuned:
    """Fine-tune the pack of `calibrated` at the global step `scale` on `count` batches of windows (B, T+1) int64.

    `text_share` of the objective is the text's own cross-entropy, the rest the KL divergence from the float model.
    `bytes_left` returns the bytes of the budget that a pack of the present state leaves unused, negative where it is
    over; the returned state leaves about 0. `model` is the float model and is not changed; `calibrated` must not have a
    trellis. Raises Diverged where the packed model's predictions are not finite.
    """
    device = model.embedding.weight.device
    found = parallel_map(
        lambda each: round_matrices([each], scale, low_rank=low_rank)[0], _watched(calibrated, progress)
    )
    matrices = [_Matrix(each, scale, rounding, device) for each, rounding in zip(calibrated, found, strict=True)]
    packed = copy.deepcopy(model)
    parameters = dict(packed.named_parameters())
    small = {name: p for name, p in parameters.items() if p.ndim != 2}
    optimizer, schedule = _optimizer(
        [t for t in (m.targets for m in matrices) if t is not None], list(small.values()), count
    )
    rate = RateControl(matrices, bit_price(scale))
    divergences: list[float] = []
    weighed_at = {round(share * count) for share in _WEIGHED_AT}

    def tuning() -> FineTuned:
        tuned = [each.result(before, scale) for each, before in zip(matrices, calibrated, strict=True)]
        return FineTuned(tuned, {name: p.detach() for name, p in small.items()}, divergences)

    for index, batch in enumerate(batches):
        progress(index / count)
        if index in weighed_at:
            rate.weighed(bytes_left(tuning()))
        if index % EVERY == 0:
            with off_the_clock():
                rate.control(hold=index > _HELD_FROM * count)
        for each in matrices:
            parameters[each.name].data.copy_(each.weights())
        divergences.append(_descend(model, packed, batch, text_share))
        for each in matrices:
            each.take_gradient(parameters[each.name], rate.price)
        optimizer.step()
        schedule.step()
        packed.zero_grad()
        if not math.isfinite(divergences[-1]):
            raise Diverged("fine-tuning: the packed model's predictions are not finite; set pack.tune_tokens = 0")
    return _landed(tuning, rate, bytes_left)


def _landed(tuning: Callable[[], FineTuned], rate: RateControl, bytes_left: Callable[[FineTuned], int]) -> FineTuned:
    """The fine-tuned state, projected onto the number of bits at which its file fills its byte budget.

    By Newton's method, since each bit adds an eighth of a byte to the file, within a bracket of bits known to be too
    few and too many. Sizes of small files jump: where the bracket closes on a jump, the search continues around it with
    decreasing steps, and the nearest state of all is taken.
    """
    rate.project(rate.wanted)
    best, least, few, many = tuning(), math.inf, 0.0, math.inf
    for turn in range(_MOST_PROBES):
        found, bits = tuning(), rate.bits()
        left = bytes_left(found)
        if abs(left) < least:
            best, least = found, abs(left)
        if 8 * least <= _LANDED * bits:
            break
        few, many = (max(few, bits), many) if left > 0 else (few, min(many, bits))
        if many - few <= _LANDED * bits:
            few, many = 0.0, math.inf
        wanted = bits + 8 * left * (1 - turn / (2 * _MOST_PROBES))
        rate.project(wanted if few < wanted < many else (few + min(many, 2 * max(few, bits))) / 2)
    return best


def _optimizer(
    targets: list[Tensor], small: list[torch.nn.Parameter], count: int
) -> tuple[torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR]:
    """Adam for `count` batches, and its learning rate schedule."""
    optimizer = torch.optim.Adam(
        [{"params": targets, "lr": _LR}, {"params": small, "lr": _SMALL_LR}], betas=_BETAS, eps=_EPS
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda done: min(1.0, (done + 1) / _WARMUP) * max(0.0, 1 - done / count)
    )


def _watched(calibrated: list[CalibratedMatrix], progress: Callable[[float], None]) -> Iterator[CalibratedMatrix]:
    for each in calibrated:
        progress(0.0)
        yield each


def _descend(model: Transformer, packed: Transformer, windows: Tensor, text_share: float) -> float:
    """KL(float ‖ packed) in nats per token on windows (B, T+1); adds the objective's gradient to `packed`'s .grad."""
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

    for divergence, gradients in parallel_map(part, windows.chunk(_PARTS), device=windows.device):
        total += divergence
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return total


class _Matrix:
    """A packed matrix as a function of its targets (M, N), in units of its steps."""

    def __init__(self, given: CalibratedMatrix, scale: float, rounding: Rounding, device: torch.device) -> None:
        factors, targets = rounding.factors, rounding.targets
        self.name, self._factors = given.name, factors
        self._steps = torch.from_numpy(given.steps.relative()).mul_(given.base * scale).to(device)
        self._offset = _product(factors, device)
        self.targets: Tensor | None = None
        if targets is not None:
            self.targets = torch.from_numpy(targets).to(device)
            symbols = self.targets.round().to(torch.int32).cpu().numpy()
            scales = ContextScales(whole_scale(symbols, given.steps) if symbols.any() else 0, *given.offsets)
            self._classes = residual_classes(given.steps, scales).reshape(-1)
            # in squared steps of each symbol, rounding errors included
            variances = torch.from_numpy(scales.variances()).to(device) / self._steps.square()
            level = float((self.targets.square() / variances).cpu().numpy().mean(dtype=np.float64))
            self._variances = variances.mul_(level).add_(ROUNDING)

    def weights(self) -> Tensor:
        """The decoded weights (M, N) float32."""
        if self.targets is None:
            return torch.zeros_like(self._steps) if self._offset is None else self._offset * self._steps
        rounded = self.targets.round()
        return (rounded if self._offset is None else rounded + self._offset) * self._steps

    def project(self, ratio: float) -> None:
        """Move the targets so that the symbols become those at `ratio` times the global step (`shrinkage`)."""
        if self.targets is not None:
            self.targets.mul_(shrinkage(self._variances, ratio))

    def count(self, histogram: Histogram, ratio: float = 1.0) -> None:
        """Add the symbols at `ratio` times the global step to `histogram`."""
        if self.targets is not None:
            symbols = self._symbols(ratio).reshape(-1)
            if fits(symbols, self._classes):
                histogram.add(symbols, self._classes)

    def take_gradient(self, weights: Tensor, price: float) -> None:
        """Set the targets' gradient: that of the decoded weights, straight through the rounding, plus that of λ · bits.

        A Gaussian symbol u of variance v takes u² / (2 v ln 2) bits plus a constant.
        """
        if self.targets is not None and weights.grad is not None:
            slope = weights.grad * self._steps
            self.targets.grad = slope.addcdiv_(self.targets, self._variances, value=price / math.log(2))

    def _symbols(self, ratio: float = 1.0) -> Symbols:
        assert self.targets is not None
        targets = self.targets if ratio == 1 else self.targets * shrinkage(self._variances, ratio)
        return targets.round().to(torch.int32).cpu().numpy()

    def result(self, given: CalibratedMatrix, scale: float) -> CalibratedMatrix:
        """`given` with the fine-tuned targets."""
        if self.targets is None:
            return given
        targets = (self.targets * scale).cpu().numpy()
        return replace(given, tuned=FineTunedTargets(targets, self._variances.cpu().numpy(), self._factors, scale))


def _product(factors: Factors, device: torch.device) -> Tensor | None:
    """The decoded low-rank part (M, N) in units of the steps."""
    return torch.from_numpy(reconstruct(factors)).to(device) if factors.rank else None
