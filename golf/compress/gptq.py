"""GPTQ error feedback: round a matrix column by column, and correct the remaining columns for each rounding error.

With H = C Cᵀ (Cholesky, C lower triangular) the cost  e H eᵀ = |e C|²  of a row's error e is a sum over columns, and
column j of e C depends on the errors of columns j, j+1, ... alone. So columns are rounded from the last to the first,
each to the grid point nearest to  w_j - Σ_{k>j} e_k C_kj / C_jj.  This is GPTQ (arXiv:2210.17323), which equals Babai's
nearest plane algorithm (arXiv:2507.18553). Column j then costs (C_jj · rounding error)²: C_jj is its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Columns of one block: their errors are applied to all columns not yet rounded in one matrix product.
_BLOCK = 64


@dataclass(frozen=True)
class ErrorFeedback:
    """GPTQ's error feedback for a matrix (M, N) whose inputs have the metric C Cᵀ.

    `weights` (N,) float64 is the diagonal of C; `feedback` (N, N) float32 is C_kk (C⁻¹)_kj: what a rounding error of
    column k adds to the target of column j < k.
    """

    weights: NDArray[np.float64]
    feedback: NDArray[np.float32]

    def scaled(self, columns: NDArray[np.float64]) -> NDArray[np.float32]:
        """`feedback` for columns that are expressed in units of `columns` (N,)."""
        return (self.feedback * (columns[:, None] / columns[None, :])).astype(np.float32)


def error_feedback(metric: NDArray[np.float64]) -> ErrorFeedback:
    """Error feedback of a positive definite metric (N, N)."""
    lower = torch.linalg.cholesky(torch.from_numpy(metric))
    weights = lower.diagonal()
    identity = torch.eye(len(metric), dtype=torch.float64)
    inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
    return ErrorFeedback(weights.numpy().copy(), (weights[:, None] * inverse).float().numpy())


def round_columns(
    values: NDArray[np.float32], feedback: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values (M, N) in units of their steps → (integers, targets that were rounded to them), both (M, N) float32.

    `feedback` (N, N) is in the same units. Only entries below its diagonal are used.
    """
    (found,) = round_together([values], [feedback], torch.round)
    return found


def round_together(
    values: Sequence[NDArray[np.float32]],
    feedbacks: Sequence[NDArray[np.float32]],
    nearest: Callable[[Tensor], Tensor],
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Round matrices (M_i, N) of one width N at once, with the result that `round_columns` gives for each.

    `nearest` maps one column's targets (Σ M_i,) to what they are rounded to.
    """
    ahead = torch.cat([torch.from_numpy(np.ascontiguousarray(each.T)) for each in values], 1)  # columns are contiguous
    matrices = [torch.from_numpy(feedback) for feedback in feedbacks]
    ends = np.cumsum([len(each) for each in values]).tolist()
    parts = [slice(end - len(each), end) for each, end in zip(values, ends, strict=True)]
    targets, rounded = torch.empty_like(ahead), torch.empty_like(ahead)
    for end in range(len(ahead), 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        blocks = [matrix[start:end, start:end] for matrix in matrices]
        errors = _round_block(ahead[start:end], blocks, parts, nearest, rounded[start:end])
        targets[start:end] = ahead[start:end]
        for matrix, part in zip(matrices, parts, strict=True):
            ahead[:start, part] += matrix[start:end, :start].T @ errors[:, part]
    return [(_transposed(rounded[:, part]), _transposed(targets[:, part])) for part in parts]


def _transposed(columns: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(columns.numpy().T)


def _round_block(
    ahead: Tensor, feedbacks: list[Tensor], parts: list[slice], nearest: Callable[[Tensor], Tensor], rounded: Tensor
) -> Tensor:
    """Round one block of columns (n, Σ M_i) into `rounded`, the last first; return their errors (n, Σ M_i)."""
    errors = torch.empty_like(ahead)
    for column in range(len(ahead) - 1, -1, -1):
        rounded[column] = nearest(ahead[column])
        torch.sub(rounded[column], ahead[column], out=errors[column])
        for feedback, part in zip(feedbacks, parts, strict=True):
            ahead[:column, part].addr_(feedback[column, :column], errors[column, part])
    return errors
