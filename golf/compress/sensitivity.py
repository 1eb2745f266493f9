"""How much the loss minds a change of each weight: the diagonal of the Fisher matrix, row by column.

Near a trained model  ΔL ≈ ½ Σ_ij F_ij (Ŵ_ij - W_ij)²  with F = E[(∂ log p / ∂W)²], the targets drawn from the model
itself (the true Fisher; arXiv:1905.12558 says why not the data's own). F_ij is kept as rows_i · columns_j.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from golf.errors import Diverged
from golf.model import Transformer

# A dead column or row must still get a finite step: it counts as at least this share of its tensor's mean.
_FLOOR = 1e-3
# And a tensor that the calibration text never touched, as this share of the mean tensor.
_TENSOR_FLOOR = 1e-6


@dataclass(frozen=True)
class Sensitivity:
    """F_ij ≈ rows_i · columns_j, in nats per token per squared change of the weight; float64, all positive."""

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]


def measure(
    model: Transformer,
    windows: Iterable[Tensor],
    *,
    seed: int,
    row_smoothing: float,
    stop: Callable[[], None] | None = None,
) -> dict[str, Sensitivity]:
    """Sensitivities of every matrix of `model`, from text windows (1, T+1) int64 of the TRAINING split.

    One backward pass a window: the scores of different positions are uncorrelated given the model's own targets, so
    the square of their sum is an unbiased sample of the Fisher diagonal's sum. Raises Diverged, naming the tensor,
    when a gradient is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    matrices = {name: p for name, p in model.named_parameters() if p.ndim == 2}
    rows = {name: torch.zeros(p.shape[0], dtype=torch.float64) for name, p in matrices.items()}
    columns = {name: torch.zeros(p.shape[1], dtype=torch.float64) for name, p in matrices.items()}
    tokens = 0
    for window in windows:
        if stop is not None:
            stop()
        loss = _sampled_loss(model, window, generator)
        gradients = torch.autograd.grad(loss, list(matrices.values()))
        for name, gradient in zip(matrices, gradients, strict=True):
            energy = gradient.double().square().cpu()
            rows[name] += energy.sum(1)
            columns[name] += energy.sum(0)
        tokens += window.numel() - len(window)
    return _separate(rows, columns, tokens, row_smoothing)


def _sampled_loss(model: Transformer, window: Tensor, generator: torch.Generator) -> Tensor:
    """Sum of -log p over targets sampled from the model's own predictions for window (1, T+1)."""
    log_p = torch.log_softmax(model(window[:, :-1]).flatten(0, 1), dim=-1)
    if not bool(torch.isfinite(log_p.detach()).all()):
        raise Diverged("the model's predictions on the calibration text are not finite; it cannot be packed")
    targets = torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator).to(log_p.device)
    return -log_p.gather(1, targets).sum()


def _separate(
    rows: dict[str, Tensor], columns: dict[str, Tensor], tokens: int, row_smoothing: float
) -> dict[str, Sensitivity]:
    """Row and column sums of squared gradients → the rank-one fit rows_i · columns_j per token."""
    totals = {name: float(sums.sum()) / max(tokens, 1) for name, sums in rows.items()}
    for name, total in totals.items():
        if not np.isfinite(total):
            raise Diverged(f"{name}: the calibration gradient is not finite; the checkpoint cannot be packed")
    means = {name: totals[name] / (len(rows[name]) * len(columns[name])) for name in totals}
    least = max(means.values()) * _TENSOR_FLOOR or 1.0
    result = {}
    for name, mean in means.items():
        row_shape = _relative(rows[name].numpy(), smoothing=row_smoothing)
        column_shape = _relative(columns[name].numpy(), smoothing=0.0)
        result[name] = Sensitivity(row_shape * max(mean, least), column_shape)
    return result


def _relative(sums: NDArray[np.float64], *, smoothing: float) -> NDArray[np.float64]:
    """Sums over their mean, mixed with that mean by `smoothing`, floored; all ones where nothing was measured."""
    mean = sums.mean()
    if mean == 0:
        return np.ones_like(sums)
    return np.maximum((1 - smoothing) * sums / mean + smoothing, _FLOOR)
