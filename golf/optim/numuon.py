"""NuMuon (arXiv:2603.03597): Muon whose updates keep only the top-k singular directions of the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from golf.optim.schedules import rank_of
from golf.optim.shares import balance, exchange
from golf.optim.spectral import (
    POLAR_EXPRESS,
    exact_directions,
    fresh_basis,
    newton_schulz,
    resize_basis,
    top_factors,
)

# Matrices of one shape are stacked up to this many elements: products of stacks keep a GPU busy, but on a CPU a stack
# beyond its caches gains nothing over one matrix after another.
_STACK = {"cpu": 1 << 21, "cuda": 1 << 28}
# What each column of a basis gets of a coordinate axis at every step: a direction that was lost, as all are where a
# gradient is zero, is found again from it. The others turn by a thousandth, and back with the product that follows.
_REVIVAL = 1e-3


class NuMuon(torch.optim.Optimizer):
    """Momentum, top-k directions, decoupled weight decay; for 2-D parameters only.

        M ← β M + (1 - β) G
        W ← (1 - lr · weight_decay) W - lr · s · U_k V_kᵀ,   s = √max(1, rows / columns)

    with U_k, V_k the top-k singular directions of M and k = ⌈rank_fraction · min(rows, columns)⌉, rounded up to a
    multiple of 16 where the smaller side is above 16 (a basis is costly to resize). At rank_fraction 1 this is Muon.
    Every option is one of a parameter group: the MLP's down projection may keep more directions than the rest.

    >>> weight = torch.nn.Parameter(torch.eye(4, 3))
    >>> optimizer = NuMuon([weight], lr=0.1, rank_fraction=0.5, weight_decay=0.0)
    >>> weight.square().sum().backward()
    >>> optimizer.step()
    >>> (torch.eye(4, 3) - weight.detach()).svd().S.div(0.1 * (4 / 3) ** 0.5).round().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        rank_fraction: float = 1.0,
        nesterov: bool = False,
        adjust_lr_fn: str = "original",
        ns_steps: int = 5,
        ns_coefficients: tuple[float, float, float] | None = None,
        exact: bool = False,
        dtype: torch.dtype = torch.bfloat16,
        process_group: dist.ProcessGroup | None = None,
        error_if_nonfinite: bool = True,
    ) -> None:
        """Options beyond torch.optim.Muon's; raises ValueError on bad ones.

        `exact` takes the directions from an SVD: slow, the oracle of the fast path, which follows them with a
        warm-started subspace iteration. `ns_coefficients` are those of every Newton-Schulz step at full rank, as in
        torch.optim.Muon; None takes Polar Express, whose steps differ. `dtype` is that of the products, as in
        torch.optim.Muon bfloat16 by default; factorizations are made in float32. With a `process_group`, whose
        processes must hold the same parameters and gradients, each computes a share of the directions and gets the
        others'. `error_if_nonfinite` makes `step` raise FloatingPointError naming the parameter, on CUDA in a later
        step, so that no step waits for the device.
        """
        for name, value, upper in (
            ("lr", lr, math.inf),
            ("momentum", momentum, 1),
            ("weight_decay", weight_decay, math.inf),
        ):
            if not 0 <= value < upper:
                raise ValueError(f"{name} must be in [0, {upper}), got {value}")
        if not 0 < rank_fraction <= 1:
            raise ValueError(f"rank_fraction must be in (0, 1], got {rank_fraction}")
        if adjust_lr_fn not in ("original", "match_rms_adamw"):
            raise ValueError(f"adjust_lr_fn must be original or match_rms_adamw, got {adjust_lr_fn!r}")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "rank_fraction": rank_fraction,
            "nesterov": nesterov,
            "adjust_lr_fn": adjust_lr_fn,
            "ns_steps": ns_steps,
            "ns_coefficients": ns_coefficients,
            "exact": exact,
        }
        super().__init__(params, defaults)
        self._dtype, self._process_group, self._checks = dtype, process_group, error_if_nonfinite
        self._sums: Tensor | None = None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    raise ValueError(f"NuMuon moves matrices; got a parameter of shape {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moves = list(self._moves())
        if not moves:
            return loss
        if self._checks:
            self._refuse_nonfinite(moves)
        for group in self.param_groups:
            _update_momentum([move for move in moves if move.group is group], group["momentum"])
        if self._process_group is None:
            for stack in _stacks(moves):
                for move, direction in zip(stack, self._directions(stack), strict=True):
                    move.apply(direction)
        else:
            self._step_shared(moves, self._process_group)
        return loss

    def _moves(self) -> Iterator[_Move]:
        index = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rank = rank_of(group["rank_fraction"], smaller_side=min(parameter.shape))
                    yield _Move(parameter, group, self.state[parameter], rank, seed=index)
                index += 1

    def _refuse_nonfinite(self, moves: list[_Move]) -> None:
        """Raise for a gradient of this step, or on CUDA for one that the step before noted down.

        A sum is not finite where an entry is not, and costs a tenth of a norm.
        """
        sums = torch.stack([move.gradient.sum(dtype=torch.float32) for move in moves])
        if sums.device.type == "cuda":
            noted, self._sums = self._sums, torch.empty(len(moves), pin_memory=True)
            self._sums.copy_(sums, non_blocking=True)
            if noted is None or len(noted) != len(moves):
                return
            sums = noted
        if not math.isfinite(sums.sum().item()):
            guilty = moves[int((~torch.isfinite(sums)).nonzero()[0])]
            raise FloatingPointError(f"the gradient of {self._name(guilty.parameter)} is not finite")

    def _name(self, parameter: Tensor) -> str:
        for group in self.param_groups:
            for index, own in enumerate(group["params"]):
                if own is parameter:
                    names = group.get("param_names")
                    return str(names[index]) if names else f"a parameter of shape {tuple(parameter.shape)}"
        raise LookupError("not a parameter of this optimizer")

    def _directions(self, stack: list[_Move]) -> list[_Direction]:
        """Directions of matrices of one shape and rank; their bases are kept in the state while k is below full."""
        first = stack[0]
        if first.group["exact"]:
            return [_Direction(exact_directions(move.aim, move.rank), None) for move in stack]
        aims = [move.aim.to(self._dtype) for move in stack]
        if first.is_full_rank:
            steps, same = first.group["ns_steps"], first.group["ns_coefficients"]
            quintics = POLAR_EXPRESS if same is None else (tuple(same),) * steps
            found = newton_schulz(_stacked(aims), steps=steps, quintics=quintics, tight=same is None)
            return [_Direction(full, None) for full in _unstacked(found, len(stack))]
        bases = _stacked([move.basis(aim) for move, aim in zip(stack, aims, strict=True)])
        bases.diagonal(dim1=-2, dim2=-1).add_(_REVIVAL)
        left, right = top_factors(_stacked(aims), bases, steps=first.group["ns_steps"])
        pairs = zip(_unstacked(left, len(stack)), _unstacked(right, len(stack)), strict=True)
        return [_Direction(*pair) for pair in pairs]

    def _step_shared(self, moves: list[_Move], group: dist.ProcessGroup) -> None:
        """Compute this process's share of the directions, get the others', apply all."""
        owners = balance([move.cost for move in moves], dist.get_world_size(group))
        rank = dist.get_rank(group)
        own = [move for move, owner in zip(moves, owners, strict=True) if owner == rank]
        found: dict[int, Tensor] = {}
        for stack in _stacks(own):
            found |= {id(m): d.flat() for m, d in zip(stack, self._directions(stack), strict=True)}
        first = moves[0]
        every = exchange(
            [move.elements for move in moves],
            owners,
            [found[id(move)] for move in own],
            dtype=first.parameter.dtype if first.group["exact"] else self._dtype,
            device=first.parameter.device,
            group=group,
        )
        for move, flat in zip(moves, every, strict=True):
            move.apply(move.unflatten(flat))


@dataclass(frozen=True)
class _Direction:
    """left (M, k) @ right (k, N); where right is None, left is the whole direction. M ≥ N."""

    left: Tensor
    right: Tensor | None

    def flat(self) -> Tensor:
        return self.left.flatten() if self.right is None else torch.cat((self.left.flatten(), self.right.flatten()))


@dataclass(frozen=True)
class _Move:
    """One parameter's step: what it needs and how a direction is applied. `aim` and directions have M ≥ N."""

    parameter: Tensor
    group: dict[str, Any]
    state: dict[str, Any]
    rank: int
    seed: int

    @property
    def gradient(self) -> Tensor:
        assert self.parameter.grad is not None
        return self.parameter.grad

    @property
    def momentum(self) -> Tensor:
        if "momentum_buffer" not in self.state:
            self.state["momentum_buffer"] = torch.zeros_like(self.parameter)
        buffer: Tensor = self.state["momentum_buffer"]
        return buffer

    @property
    def aim(self) -> Tensor:
        """What the step descends along, the longer side first."""
        aim = self.momentum
        if self.group["nesterov"]:
            aim = torch.lerp(self.gradient, aim, self.group["momentum"])
        return aim.mT if self.is_wide else aim

    @property
    def is_wide(self) -> bool:
        return self.parameter.shape[0] < self.parameter.shape[1]

    @property
    def is_full_rank(self) -> bool:
        return self.rank == min(self.parameter.shape)

    @property
    def kind(self) -> tuple[Any, ...]:
        """What matrices of one stack have in common."""
        p = self.parameter
        options = (self.group["exact"], self.group["ns_steps"])
        return (max(p.shape), min(p.shape), self.rank, p.device, p.dtype, *options)

    @property
    def cost(self) -> float:
        """Multiplications of the direction, in M N k: for sharing the work out."""
        m, n, k = max(self.parameter.shape), min(self.parameter.shape), self.rank
        if self.is_full_rank:
            return self.group["ns_steps"] * (2 * m * n * n + n**3)
        return 3 * m * n * k + 2 * m * k * k + self.group["ns_steps"] * (2 * n * k * k + k**3)

    @property
    def elements(self) -> int:
        """Numbers in this direction as it travels between processes."""
        m, n = self.parameter.shape
        return m * n if self.is_full_rank or self.group["exact"] else self.rank * (m + n)

    def basis(self, aim: Tensor) -> Tensor:
        """The last step's right directions (N, k), brought to today's rank."""
        known = self.state.get("basis")
        if known is None:
            return fresh_basis(aim, self.rank, seed=self.seed)
        return resize_basis(aim, known.to(aim.dtype), self.rank, seed=self.seed)

    def unflatten(self, flat: Tensor) -> _Direction:
        """Inverse of `_Direction.flat`."""
        m, n = max(self.parameter.shape), min(self.parameter.shape)
        if self.is_full_rank or self.group["exact"]:
            return _Direction(flat.view(m, n), None)
        left, right = flat.split((m * self.rank, self.rank * n))  # type: ignore[no-untyped-call]
        return _Direction(left.view(m, self.rank), right.view(self.rank, n))

    def apply(self, direction: _Direction) -> None:
        """Decay the parameter, step against the direction, and keep its right side as the next basis."""
        left, right = direction.left, direction.right
        if right is None:
            self.state.pop("basis", None)
        else:
            self.state["basis"] = right.mT
        lr = self.group["lr"]
        decay = 1 - lr * self.group["weight_decay"]
        length = lr * _shape_factor(self.parameter, self.group["adjust_lr_fn"])
        parameter = self.parameter.mT if self.is_wide else self.parameter
        if right is not None and right.dtype == parameter.dtype:
            parameter.addmm_(left, right, beta=decay, alpha=-length)
        else:
            parameter.mul_(decay).add_(left if right is None else left @ right, alpha=-length)


def _update_momentum(moves: list[_Move], momentum: float) -> None:
    if moves:
        torch._foreach_lerp_([m.momentum for m in moves], [m.gradient for m in moves], 1 - momentum)


def _stacks(moves: list[_Move]) -> Iterator[list[_Move]]:
    """Matrices of one kind together, as many as a stack may hold."""
    by_kind: dict[tuple[Any, ...], list[_Move]] = {}
    for move in moves:
        by_kind.setdefault(move.kind, []).append(move)
    for alike in by_kind.values():
        parameter = alike[0].parameter
        most = max(1, _STACK.get(parameter.device.type, 1) // parameter.numel())
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def _stacked(matrices: list[Tensor]) -> Tensor:
    """(B, M, N), or the matrix itself where it is alone: plain products are faster than stacks of one."""
    return matrices[0] if len(matrices) == 1 else torch.stack(matrices)


def _unstacked(found: Tensor, count: int) -> tuple[Tensor, ...]:
    return (found,) if count == 1 else found.unbind()


def _shape_factor(parameter: Tensor, adjust_lr_fn: str) -> float:
    """torch.optim.Muon's learning-rate adjustment for a weight of `rows` outputs and `columns` inputs."""
    rows, columns = parameter.shape
    if adjust_lr_fn == "match_rms_adamw":
        return float(0.2 * math.sqrt(max(rows, columns)))
    return math.sqrt(max(1.0, rows / columns))
