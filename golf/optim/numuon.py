"""NuMuon (arXiv:2603.03597): Muon whose updates keep only the top-k singular directions of the momentum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from golf.optim.schedules import rank_of
from golf.optim.spectral import exact_directions, fresh_basis, newton_schulz, resize_basis, subspace_directions


class NuMuon(torch.optim.Optimizer):
    """Momentum, top-k directions, decoupled weight decay; for 2-D parameters only.

        M ← β M + (1 - β) G
        W ← (1 - lr · weight_decay) W - lr · s · U_k V_kᵀ,   s = √max(1, rows / columns)

    with U_k, V_k the top-k singular directions of M and k = ⌈rank_fraction · min(rows, columns)⌉, rounded up to a
    multiple of 16 where the smaller side is above 16 (a basis is costly to resize). At rank_fraction 1 this is Muon.
    `exact=True` takes the directions from an SVD: slow, the oracle of the fast path, which follows them with a
    warm-started subspace iteration.

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
        exact: bool = False,
    ) -> None:
        """`adjust_lr_fn` is torch.optim.Muon's: "original" or "match_rms_adamw". Raises ValueError on bad options."""
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
            "exact": exact,
        }
        super().__init__(params, defaults)
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
        for index, (group, parameter) in enumerate((g, p) for g in self.param_groups for p in g["params"]):
            if parameter.grad is not None:
                self._update(parameter, group, seed=index)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any], *, seed: int) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(parameter.grad, 1 - group["momentum"])  # type: ignore[arg-type]
        aim = torch.lerp(parameter.grad, buffer, group["momentum"]) if group["nesterov"] else buffer  # type: ignore[arg-type]
        direction = self._directions(aim, group, state, seed=seed)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(direction, alpha=-group["lr"] * _shape_factor(parameter, group["adjust_lr_fn"]))

    def _directions(self, aim: Tensor, group: dict[str, Any], state: dict[str, Any], *, seed: int) -> Tensor:
        """Top-k directions of `aim`; keeps the basis (smaller side, k) in the state while k is below full rank."""
        rank = rank_of(group["rank_fraction"], smaller_side=min(aim.shape))
        if group["exact"]:
            return exact_directions(aim, rank)
        if rank == min(aim.shape):
            state.pop("basis", None)
            return newton_schulz(aim, steps=group["ns_steps"])
        wide = aim.shape[0] < aim.shape[1]
        tall_aim = aim.mT if wide else aim
        basis = state.get("basis")
        if basis is None:
            basis = fresh_basis(tall_aim, rank, seed=seed)
        basis = resize_basis(tall_aim, basis, rank, seed=seed)
        direction, state["basis"] = subspace_directions(tall_aim, basis, steps=group["ns_steps"])
        return direction.mT if wide else direction


def _shape_factor(parameter: Tensor, adjust_lr_fn: str) -> float:
    """torch.optim.Muon's learning-rate adjustment for a weight of `rows` outputs and `columns` inputs."""
    rows, columns = parameter.shape
    if adjust_lr_fn == "match_rms_adamw":
        return float(0.2 * math.sqrt(max(rows, columns)))
    return math.sqrt(max(1.0, rows / columns))
