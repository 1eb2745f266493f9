"""K-FAC Fisher information of every matrix, estimated on calibration text: how much an error of its weights costs.

Near a trained model an error E = Ŵ - W of a matrix costs  ΔL ≈ ½ Σ_i rows_i · e_i H e_iᵀ  (e_i the rows of E): the
Fisher matrix of y = W x, approximated by a Kronecker product (K-FAC, arXiv:1503.05671). H sums x xᵀ over tokens, each
weighted with the squared gradient at its output, so tokens that the loss does not depend on do not count. Targets are
sampled from the model (the true Fisher; arXiv:1905.12558 says why the empirical Fisher is worse).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from golf.errors import Diverged
from golf.model import Transformer
from golf.runtime.parallel import parallel_map

# Least Fisher information of a row, as a share of its tensor's mean: a dead row still needs a finite step.
_ROW_FLOOR = 1e-3
# Least mean Fisher information of a tensor, as a share of the largest one: calibration text may not reach a tensor.
_TENSOR_FLOOR = 1e-6
# Batches in parallel: each holds every H in float32, 160 MB for eleven layers of width 512.
_MOST_BATCHES = 4
# Tokens of one forward and backward pass: 4,096 took 4 GiB of activations with 17 M weights; 1,024 are no slower.
_AT_ONCE = 1024


@dataclass(frozen=True)
class Fisher:
    """K-FAC Fisher information of a matrix (M, N): `rows` (M,) in nats per token, `metric` (N, N), both float64.

    All rows are positive, the metric is positive definite with a mean diagonal of 1. The Fisher information of
    weight (i, j) alone is rows_i · metric_jj.
    """

    rows: NDArray[np.float64]
    metric: NDArray[np.float64]

    def cost(self, error: NDArray[np.float64]) -> float:
        """Predicted loss increase, nats per token, of an error (M, N) of the weights."""
        return float(0.5 * ((error @ self.metric) * error * self.rows[:, None]).sum())


def estimate_fisher(
    model: Transformer,
    windows: Iterable[Tensor],
    *,
    seed: int,
    row_smoothing: float,
    damping: float,
    stop: Callable[[], None] | None = None,
) -> dict[str, Fisher]:
    """Fisher information of every matrix of `model`, from batches of windows (B, T+1) int64 of the TRAINING split.

    `row_smoothing` mixes the tensor's mean into every row; `damping` adds that share of the mean diagonal to H, so that
    H is positive definite even with fewer tokens than columns. Raises Diverged, naming the tensor, when a gradient is
    not finite. `stop` is called before each batch and may raise.
    """
    sums = {name: _Sums(p, torch.float64) for name, p in model.named_parameters() if p.ndim == 2}
    tokens = 0

    def batches() -> Iterator[tuple[Tensor, int]]:
        nonlocal tokens
        for index, window in enumerate(windows):
            if stop is not None:
                stop()
            tokens += window.numel() - len(window)
            yield window, seed + index

    device = model.embedding.weight.device
    batches_done = parallel_map(lambda batch: _batch_sums(model, *batch), batches(), device=device, most=_MOST_BATCHES)
    for parts in batches_done:
        for name, part in parts.items():
            sums[name].add(part)
    return _finish(sums, max(tokens, 1), row_smoothing, damping)


class _Sums:
    """Sums over tokens for one matrix (M, N); a matrix used twice (the tied embedding) adds up both uses."""

    def __init__(self, parameter: Tensor, dtype: torch.dtype) -> None:
        M, N = parameter.shape
        self.rows = torch.zeros(M, dtype=dtype, device=parameter.device)
        self.metric = torch.zeros(N, N, dtype=dtype, device=parameter.device)

    def add(self, part: _Sums) -> None:
        """Add the sums over other tokens."""
        self.rows += part.rows
        self.metric += part.metric

    def product(self, x: Tensor, gradient: Tensor) -> None:
        """One use as y = W x: inputs x (tokens, N), gradient at y (tokens, M)."""
        weight = gradient.square().sum(1, keepdim=True)
        self.metric += x.T @ (x * weight)
        self.rows += (gradient.square() * x.square().sum(1, keepdim=True)).sum(0)

    def lookup(self, tokens: Tensor, gradient: Tensor) -> None:
        """One use as a table: row tokens[t] was read, gradient (tokens, N) at what was read."""
        self.metric += gradient.T @ gradient
        self.rows.index_add_(0, tokens, gradient.square().sum(1))


class _Watch(TorchFunctionMode):
    """While active, every F.linear and F.embedding of a watched matrix adds to its sums in the backward pass."""

    def __init__(self, watched: dict[int, _Sums]) -> None:
        super().__init__()
        self._watched = watched

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is F.linear and (sums := self._watched.get(id(args[1]))) is not None:
            x = args[0].detach().flatten(0, -2).float()
            result.register_hook(lambda g: sums.product(x, g.flatten(0, -2).float()))
        elif func is F.embedding and (sums := self._watched.get(id(args[1]))) is not None:
            tokens = args[0].flatten()
            result.register_hook(lambda g: sums.lookup(tokens, g.flatten(0, -2).float()))
        return result


def _batch_sums(model: Transformer, window: Tensor, seed: int) -> dict[str, _Sums]:
    """Sums over one batch of windows (B, T+1)."""
    sums = {name: _Sums(p, torch.float32) for name, p in model.named_parameters() if p.ndim == 2}
    watched = {id(p): sums[name] for name, p in model.named_parameters() if name in sums}
    generator = torch.Generator().manual_seed(seed)
    for part in torch.split(window, max(1, _AT_ONCE // (window.shape[1] - 1))):
        with torch.enable_grad(), _Watch(watched):
            loss = _sampled_loss(model, part, generator)
        # the backward pass reaches all activations, and computes the gradient of no other weight
        torch.autograd.grad(loss, [model.embedding.weight])
    return sums


def _sampled_loss(model: Transformer, window: Tensor, generator: torch.Generator) -> Tensor:
    """Sum of -log p over targets sampled from the model's own predictions for windows (B, T+1)."""
    log_p = torch.log_softmax(model(window[:, :-1]).flatten(0, 1), dim=-1)
    if not bool(torch.isfinite(log_p.detach()).all()):
        raise Diverged("the model's predictions on the calibration text are not finite; it cannot be packed")
    targets = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).to(log_p.device)
    return -log_p.gather(1, targets).sum()


def _finish(sums: dict[str, _Sums], tokens: int, row_smoothing: float, damping: float) -> dict[str, Fisher]:
    """Sums over tokens → Fisher information; both sums of a matrix add up to the same total, E |gradient|² |x|²."""
    totals = {name: float(each.rows.sum()) / tokens for name, each in sums.items()}
    for name, total in totals.items():
        if not np.isfinite(total):
            raise Diverged(f"{name}: the calibration gradient is not finite; the checkpoint cannot be packed")
    means = {name: totals[name] / sums[name].rows.numel() / len(sums[name].metric) for name in totals}
    least = max(means.values()) * _TENSOR_FLOOR or 1.0
    return {
        name: Fisher(
            rows=_smooth(each.rows.cpu().numpy(), row_smoothing) * max(means[name], least),
            metric=_damped(each.metric.cpu().numpy(), damping),
        )
        for name, each in sums.items()
    }


def _smooth(sums: NDArray[np.float64], smoothing: float) -> NDArray[np.float64]:
    """Sums divided by their mean, mixed with 1 by `smoothing`, floored; all ones where every sum is zero."""
    mean = sums.mean()
    if mean == 0:
        return np.ones_like(sums)
    return np.maximum((1 - smoothing) * sums / mean + smoothing, _ROW_FLOOR)


def _damped(metric: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """A sum of outer products as a positive definite matrix of mean diagonal 1; the identity where the sum is zero."""
    identity = np.eye(len(metric))
    mean = np.trace(metric) / len(metric)
    if mean == 0:
        return identity
    return ((metric + metric.T) / (2 * mean) + damping * identity) / (1 + damping)
