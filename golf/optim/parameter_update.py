"""One parameter's update in NuMuon: momentum, aim, basis, cost, and the application of a direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from golf.optim.matmul_precision import products_of
from golf.optim.spectral import fresh_basis, resize_basis


@dataclass(frozen=True)
class Direction:
    """The direction left (M, k) @ right (k, N), M ≥ N; where right is None, left (M, N) is the whole direction."""

    left: Tensor
    right: Tensor | None

    def flat(self) -> Tensor:
        """All entries as one flat tensor, for the exchange between processes."""
        return self.left.flatten() if self.right is None else torch.cat((self.left.flatten(), self.right.flatten()))


@dataclass(frozen=True)
class ParameterUpdate:
    """A parameter with its group's options and its state. `aim` and directions have M ≥ N."""

    parameter: Tensor
    group: dict[str, Any]
    state: dict[str, Any]
    rank: int
    seed: int

    @property
    def gradient(self) -> Tensor:
        """The parameter's gradient, which is not None."""
        assert self.parameter.grad is not None
        return self.parameter.grad

    @property
    def momentum(self) -> Tensor:
        """The momentum buffer of the state; zeros before the first step."""
        if "momentum_buffer" not in self.state:
            self.state["momentum_buffer"] = torch.zeros_like(self.parameter)
        buffer: Tensor = self.state["momentum_buffer"]
        return buffer

    @property
    def aim(self) -> Tensor:
        """The matrix (M, N), M ≥ N, that the step descends along: the momentum, or Nesterov's mixture."""
        aim = self.momentum
        if self.group["nesterov"]:
            aim = torch.lerp(self.gradient, aim, self.group["momentum"])
        return aim.mT if self.is_wide else aim

    @property
    def is_wide(self) -> bool:
        """Whether the parameter has more columns than rows."""
        return self.parameter.shape[0] < self.parameter.shape[1]

    @property
    def sides(self) -> tuple[int, int]:
        """M ≥ N of the aim."""
        rows, columns = self.parameter.shape
        return (columns, rows) if self.is_wide else (rows, columns)

    @property
    def is_full_rank(self) -> bool:
        """Whether the update keeps all directions, so that no basis is needed."""
        return self.rank == self.sides[1]

    @property
    def kind(self) -> tuple[Any, ...]:
        """The key that matrices of one stack share: shape, rank, device, dtype and options."""
        p = self.parameter
        options = (self.group["exact"], self.group["ns_steps"], self.group["ns_coefficients"])
        return (*self.sides, self.rank, p.device, p.dtype, *options)

    @property
    def cost(self) -> float:
        """Number of multiplications to compute the direction, for `balance`."""
        (m, n), k = self.sides, self.rank
        if self.is_full_rank:
            return self.group["ns_steps"] * (2 * m * n * n + n**3)
        return 3 * m * n * k + 2 * m * k * k + self.group["ns_steps"] * (2 * n * k * k + k**3)

    @property
    def elements(self) -> int:
        """Number of elements of `Direction.flat`."""
        m, n = self.sides
        return m * n if self.is_full_rank or self.group["exact"] else self.rank * (m + n)

    def working_bytes(self, itemsize: int) -> int:
        """Peak bytes of computing the direction, with matmuls in a dtype of `itemsize` bytes.

        Below full rank: the aim, its basis and its image, and two float32 tensors (M, k) and two (k, k) around the
        Cholesky factorization; at full rank: the aim, two iterates and two Gram matrices.
        """
        (m, n), k = self.sides, self.rank
        if self.is_full_rank:
            return itemsize * (3 * m * n + 2 * n * n)
        return itemsize * (m * n + n * k + m * k) + 8 * (m + k) * k

    def basis(self, aim: Tensor) -> Tensor:
        """The last step's right directions (N, k), resized to the present rank."""
        known = self.state.get("basis")
        if known is None:
            return fresh_basis(aim, self.rank, seed=self.seed)
        return resize_basis(aim, known.to(aim.dtype), self.rank, seed=self.seed)

    def unflatten(self, flat: Tensor) -> Direction:
        """Inverse of `Direction.flat`."""
        m, n = self.sides
        if self.is_full_rank or self.group["exact"]:
            return Direction(flat.view(m, n), None)
        left, right = flat.split((m * self.rank, self.rank * n))  # type: ignore[no-untyped-call]
        return Direction(left.view(m, self.rank), right.view(self.rank, n))

    def apply(self, direction: Direction) -> None:
        """Decay the parameter, subtract the scaled direction, and keep its right factor as the next basis."""
        lr, left, right = self.group["lr"], direction.left, direction.right
        self._keep(right)
        decay = 1 - lr * self.group["weight_decay"]
        length = lr * _shape_factor(self.parameter, self.group["adjust_lr_fn"])
        parameter = self.parameter.mT if self.is_wide else self.parameter
        if right is None:
            parameter.mul_(decay).add_(left, alpha=-length)
        elif right.dtype == parameter.dtype or parameter.is_cpu:
            with products_of(right.dtype):  # in one kernel: the (M, N) update is never materialized
                parameter.addmm_(left.to(parameter.dtype), right.to(parameter.dtype), beta=decay, alpha=-length)
        else:
            parameter.mul_(decay).add_(left @ right, alpha=-length)

    def _keep(self, right: Tensor | None) -> None:
        """Store the next basis, in the last one's memory where shape and dtype agree.

        Row-major, as a checkpoint stores it: a matmul of another layout rounds differently.
        """
        known = self.state.get("basis")
        if right is None:
            self.state.pop("basis", None)
        elif known is not None and (known.shape, known.dtype) == (right.mT.shape, right.dtype):
            known.copy_(right.mT)
        else:
            self.state["basis"] = right.mT.clone(memory_format=torch.contiguous_format)


def _shape_factor(parameter: Tensor, adjust_lr_fn: str) -> float:
    """torch.optim.Muon's learning-rate adjustment for a weight of `rows` outputs and `columns` inputs."""
    rows, columns = parameter.shape
    if adjust_lr_fn == "match_rms_adamw":
        return float(0.2 * math.sqrt(max(rows, columns)))
    return math.sqrt(max(1.0, rows / columns))
