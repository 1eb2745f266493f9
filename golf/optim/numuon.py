"""NuMuon (arXiv:2603.03597): Muon whose updates keep only the top-k singular directions of the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from golf.optim.batching import cut, stack_aims, stack_bases, unstack
from golf.optim.nonfinite import LateCheck, first_not_finite, sums_of
from golf.optim.parameter_update import Direction, ParameterUpdate
from golf.optim.schedules import rank_of
from golf.optim.spectral import POLAR_EXPRESS, exact_directions, newton_schulz, top_factors
from golf.optim.work_sharing import balance, exchange

# Added to the diagonal of a basis at every step, so that directions that were lost (all of them where a gradient is
# zero) can be found again. It turns the others by a thousandth, which the following matmul corrects.
_REVIVAL = 1e-3


class NuMuon(torch.optim.Optimizer):
    """Momentum, top-k directions, decoupled weight decay; for 2-D parameters only.

        M ← β M + (1 - β) G
        W ← (1 - lr · weight_decay) W - lr · s · U_k V_kᵀ,   s = √max(1, rows / columns)

    with U_k, V_k the top-k singular directions of M and k = ⌈rank_fraction · min(rows, columns)⌉, rounded up to a
    multiple of 16 where the smaller side is above 16 (a basis is costly to resize). At rank_fraction 1 this is Muon.
    Every option belongs to a parameter group: the MLP's down projection may keep more directions than the rest.

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
        stack_bytes: int | None = None,
        error_if_nonfinite: bool = True,
    ) -> None:
        """Options beyond torch.optim.Muon's; raises ValueError on bad ones.

        `exact` computes the directions by SVD: slow, the test oracle of the fast path, which tracks them by
        warm-started subspace iteration. `ns_coefficients` are those of every Newton-Schulz step at full rank, as in
        torch.optim.Muon; None uses Polar Express, whose steps differ. `dtype` is that of the matmuls, bfloat16 by
        default as in torch.optim.Muon; factorizations run in float32. With a `process_group`, whose processes must hold
        the same parameters and gradients, each process computes a share of the directions and receives the others.
        Matrices of one shape are stacked within `stack_bytes` of memory, or stepped one by one where one needs more;
        None is 6 MB on a CPU and 256 MB on a GPU. `error_if_nonfinite` makes `step` raise FloatingPointError naming the
        parameter, on CUDA in a later step, so that no step waits for the device.
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
        self._dtype, self._process_group, self._stack_bytes = dtype, process_group, stack_bytes
        self._checks, self._late_check = error_if_nonfinite, LateCheck()
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
        updates = list(self._updates())
        if not updates:
            return loss
        if self._checks:
            self._refuse_nonfinite(updates)
        for group in self.param_groups:
            _update_momentum([update for update in updates if update.group is group], group["momentum"])
        if self._process_group is None:
            for stack in self._cut(updates):
                self._step_stack(stack)
        else:
            self._step_shared(updates, self._process_group)
        return loss

    def _updates(self) -> Iterator[ParameterUpdate]:
        index = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rank = rank_of(group["rank_fraction"], smaller_side=min(parameter.shape))
                    yield ParameterUpdate(parameter, group, self.state[parameter], rank, seed=index)
                index += 1

    def _refuse_nonfinite(self, updates: list[ParameterUpdate]) -> None:
        """Raise FloatingPointError for a non-finite gradient of this step, on CUDA for one of an earlier step."""
        parameters, sums = [update.parameter for update in updates], sums_of([update.gradient for update in updates])
        if sums.device.type == "cuda":
            guilty = self._late_check(parameters, sums)
        else:
            index = first_not_finite(sums)
            guilty = None if index is None else parameters[index]
        if guilty is not None:
            raise FloatingPointError(f"the gradient of {self._name(guilty)} is not finite")

    def _name(self, parameter: Tensor) -> str:
        for group in self.param_groups:
            for index, own in enumerate(group["params"]):
                if own is parameter:
                    names = group.get("param_names")
                    return str(names[index]) if names else f"a parameter of shape {tuple(parameter.shape)}"
        raise LookupError("not a parameter of this optimizer")

    def _cut(self, updates: list[ParameterUpdate]) -> Iterator[list[ParameterUpdate]]:
        return cut(updates, dtype=self._dtype, most_bytes=self._stack_bytes)

    def _step_stack(self, stack: list[ParameterUpdate]) -> None:
        for update, direction in zip(stack, self._directions(stack), strict=True):
            update.apply(direction)

    def _directions(self, stack: list[ParameterUpdate]) -> list[Direction]:
        """Directions of matrices of one shape and rank."""
        options, rank = stack[0].group, stack[0].rank
        if options["exact"]:
            return [Direction(exact_directions(update.aim, rank), None) for update in stack]
        steps, same = options["ns_steps"], options["ns_coefficients"]
        aims = stack_aims(stack, self._dtype)
        if stack[0].is_full_rank:
            quintics = POLAR_EXPRESS if same is None else (tuple(same),) * steps
            whole = newton_schulz(aims, steps=steps, quintics=quintics, tight=same is None)
            return [Direction(each, None) for each in unstack(whole)]
        bases = stack_bases(stack, aims)
        bases.diagonal(dim1=-2, dim2=-1).add_(_REVIVAL)
        left, right = top_factors(aims, bases, steps=steps)
        return [Direction(*pair) for pair in zip(unstack(left), unstack(right), strict=True)]

    def _step_shared(self, updates: list[ParameterUpdate], group: dist.ProcessGroup) -> None:
        """Compute this process's share of the directions, exchange them with the other processes, apply all."""
        owners = balance([update.cost for update in updates], dist.get_world_size(group))
        rank = dist.get_rank(group)
        own = [update for update, owner in zip(updates, owners, strict=True) if owner == rank]
        found: dict[int, Tensor] = {}
        for stack in self._cut(own):
            found |= {id(m): d.flat() for m, d in zip(stack, self._directions(stack), strict=True)}
        first = updates[0]
        every = exchange(
            [update.elements for update in updates],
            owners,
            [found[id(update)] for update in own],
            dtype=first.parameter.dtype if first.group["exact"] else self._dtype,
            device=first.parameter.device,
            group=group,
        )
        for update, flat in zip(updates, every, strict=True):
            update.apply(update.unflatten(flat))


def _update_momentum(updates: list[ParameterUpdate], momentum: float) -> None:
    if updates:
        torch._foreach_lerp_([m.momentum for m in updates], [m.gradient for m in updates], 1 - momentum)
