"""Which parameter goes to which optimizer, and both moved as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from golf.optim.numuon import NuMuon
from golf.optim.schedules import rank_fraction
from golf.recipe import Optimizer as Section


@dataclass(frozen=True)
class Assignment:
    """One parameter's place: `optimizer` is numuon, muon or adamw; `lr` its peak learning rate."""

    parameter: str
    shape: tuple[int, ...]
    optimizer: str
    lr: float


def assign(section: Section, shapes: dict[str, tuple[int, ...]]) -> list[Assignment]:
    """Matrices go to the section's optimizer; the embedding and vectors to AdamW with rates of their own."""
    return [Assignment(name, shape, *_place(section, name, shape)) for name, shape in shapes.items()]


def _place(section: Section, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
    if name.startswith("embedding."):
        return "adamw", section.embedding_lr
    if len(shape) != 2:
        return "adamw", section.scalar_lr
    return section.name, section.lr


class Optimizers:
    """The optimizers of one model: stepped, scheduled, saved and restored as one."""

    def __init__(self, section: Section, model: nn.Module) -> None:
        """Build them over `model.named_parameters()`."""
        self.section = section
        named = dict(model.named_parameters())
        places = assign(section, {name: tuple(p.shape) for name, p in named.items()})
        self._names = {
            kind: [a.parameter for a in places if (a.optimizer == "adamw") == (kind == "adamw")]
            for kind in ("adamw", "matrices")
        }
        peaks = {a.parameter: a.lr for a in places}
        self._adamw = self._build_adamw(
            [named[n] for n in self._names["adamw"]], [peaks[n] for n in self._names["adamw"]]
        )
        matrices = [named[n] for n in self._names["matrices"]]
        self._matrices = self._build_matrices(matrices) if matrices else None
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._all]

    def schedule(self, lr_multiplier: float, step: int, steps: int) -> float:
        """Set learning rates and rank for `step` of `steps`; returns the rank fraction (1 for other optimizers)."""
        for optimizer, peaks in zip(self._all, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * lr_multiplier
        if not isinstance(self._matrices, NuMuon):
            return 1.0
        fraction = rank_fraction(step, steps=steps, schedule=self.section.rank)
        for group in self._matrices.param_groups:
            group["rank_fraction"] = fraction
        return fraction

    def step(self) -> None:
        """Apply every optimizer's update."""
        for optimizer in self._all:
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All state as flat tensors `<parameter>/<buffer>`: what the checkpoint keeps."""
        found: dict[str, Tensor] = {}
        for optimizer, names in self._named():
            by_index = optimizer.state_dict()["state"]
            for index, buffers in by_index.items():
                for key, value in buffers.items():
                    found[f"{names[index]}/{key}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        for optimizer, names in self._named():
            state: dict[int, dict[str, Any]] = {}
            for index, name in enumerate(names):
                own = {k.rpartition("/")[2]: v for k, v in tensors.items() if k.rpartition("/")[0] == name}
                if own:
                    state[index] = own
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

    @property
    def _all(self) -> list[torch.optim.Optimizer]:
        return [self._adamw] if self._matrices is None else [self._adamw, self._matrices]

    def _named(self) -> list[tuple[torch.optim.Optimizer, list[str]]]:
        return list(zip(self._all, (self._names["adamw"], self._names["matrices"]), strict=False))

    def _build_adamw(self, parameters: list[nn.Parameter], rates: list[float]) -> torch.optim.AdamW:
        groups = [
            # Decay keeps the packed embedding small; gains are a handful of numbers and keep their value.
            {"params": [p], "lr": lr, "weight_decay": self.section.weight_decay if p.ndim == 2 else 0.0}
            for p, lr in zip(parameters, rates, strict=True)
        ]
        return torch.optim.AdamW(groups, betas=self.section.betas, eps=self.section.eps)

    def _build_matrices(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        section = self.section
        if section.name == "adamw":
            return torch.optim.AdamW(
                parameters, lr=section.lr, betas=section.betas, eps=section.eps, weight_decay=section.weight_decay
            )
        shared: dict[str, Any] = {
            "lr": section.lr,
            "momentum": section.momentum,
            "weight_decay": section.weight_decay,
            "nesterov": section.nesterov,
        }
        return torch.optim.Muon(parameters, **shared) if section.name == "muon" else NuMuon(parameters, **shared)
