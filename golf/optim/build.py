"""Assign each parameter to NuMuon, Muon or AdamW, and step all optimizers of a model as one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from golf.optim.numuon import NuMuon
from golf.optim.rate_penalty import generalized_gaussian_threshold_, soft_threshold_
from golf.optim.schedules import momentum, rank_fraction, rate_penalty, weight_decay
from golf.optim.spectral import newton_schulz
from golf.recipe import Optimizer as Section
from golf.runtime.device import product_dtype

# Newton-Schulz coefficients of torch.optim.Muon, after Keller Jordan (https://kellerjordan.github.io/posts/muon/).
_MUON_QUINTIC = (3.4445, -4.7750, 2.0315)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Assignment:
    """One parameter's optimizer: `optimizer` is numuon, muon or adamw; `lr` its peak learning rate."""

    parameter: str
    shape: tuple[int, ...]
    optimizer: str
    lr: float


def assign(section: Section, shapes: dict[str, tuple[int, ...]]) -> list[Assignment]:
    """Assign matrices to the section's optimizer; the embedding and vectors to AdamW with their own learning rates."""
    return [Assignment(name, shape, *_place(section, name, shape)) for name, shape in shapes.items()]


def _place(section: Section, name: str, shape: tuple[int, ...]) -> tuple[str, float]:
    if _is_block_matrix(name, shape):
        return section.name, section.lr
    return "adamw", section.embedding_lr if name.startswith("embedding.") else section.scalar_lr


def _is_block_matrix(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and not name.startswith("embedding.")


class Optimizers:
    """The optimizers of one model: stepped, scheduled, saved and restored as one."""

    def __init__(self, section: Section, model: nn.Module, *, process_group: dist.ProcessGroup | None = None) -> None:
        """Build them over `model.named_parameters()`; the processes of a group share NuMuon's work.

        Where the section leaves `matmul_dtype` to "auto", the device of the parameters decides.
        """
        self.section, self._group = section, process_group
        device, chosen = next(model.parameters()).device, section.matmul_dtype
        self._dtype = product_dtype(device) if chosen == "auto" else _DTYPES[chosen]
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
        self._names["matrices"].sort(key=_is_down)  # the order of the parameter groups
        matrices = {name: named[name] for name in self._names["matrices"]}
        self._matrices = self._build_matrices(matrices) if matrices else None
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self._all]
        self._block_matrices = [p for name, p in named.items() if _is_block_matrix(name, tuple(p.shape))]
        self.penalty_strength = 0.0
        """The rate penalty's strength at the scheduled step."""
        self._penalty = 0.0  # what the rate penalty subtracts: the learning rate times the strength

    @property
    def matmul_dtype(self) -> str | None:
        """The dtype of matmuls, "float32" or "bfloat16", with "auto" resolved; None for AdamW, which has no matmuls."""
        return None if self.section.name == "adamw" else str(self._dtype).removeprefix("torch.")

    def schedule(self, lr_multiplier: float, step: int, steps: int) -> float:
        """Set the learning rates and all other schedules for `step` of `steps`.

        Returns the rank fraction (1 without NuMuon).
        """
        section = self.section
        self.penalty_strength = rate_penalty(step, steps=steps, section=section.rate_penalty)
        self._penalty = section.lr * lr_multiplier * self.penalty_strength
        decay = weight_decay(step, steps=steps, start=section.weight_decay, end=section.weight_decay_end)
        for optimizer, peaks in zip(self._all, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * lr_multiplier
                if group["params"][0].ndim == 2:
                    group["weight_decay"] = decay
        if self._matrices is None or self.section.name == "adamw":
            return 1.0
        for group in self._matrices.param_groups:
            group["momentum"] = momentum(
                step, steps=steps, warmup=self.section.momentum_warmup, peak=self.section.momentum
            )
        if self.section.name == "muon":
            return 1.0
        rank = self.section.rank
        for group, end in zip(self._matrices.param_groups, (rank.end, rank.down_end), strict=False):
            group["rank_fraction"] = rank_fraction(step, steps=steps, schedule=rank, end=end)
        return rank_fraction(step, steps=steps, schedule=rank)

    def step(self) -> None:
        """Apply every optimizer's update."""
        for optimizer in self._all:
            optimizer.step()
        if self.section.spectral_decay and self._matrices is not None:
            self._decay_spectra(self._matrices)
        if self._penalty:
            self._penalize()

    def _penalize(self) -> None:
        """Apply the rate penalty to the matrices of the blocks, which share a learning rate."""
        section, blocks = self.section.rate_penalty, self._block_matrices
        if section.kind == "l1":
            soft_threshold_(blocks, self._penalty)
        elif section.codes == "one":
            generalized_gaussian_threshold_(blocks, self._penalty)
        else:
            for block in blocks:
                generalized_gaussian_threshold_([block], self._penalty)

    @torch.no_grad()
    def _decay_spectra(self, matrices: torch.optim.Optimizer) -> None:
        """W ← W - lr · spectral_decay · polar(W): all singular values shrink by one amount (arXiv:2610.11730)."""
        for group in matrices.param_groups:
            for parameter in group["params"]:
                polar = newton_schulz(parameter.to(self._dtype))
                parameter.add_(polar, alpha=-group["lr"] * self.section.spectral_decay)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for optimizer in self._all:
            optimizer.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """All state as a flat dict of tensors named `<parameter>/<buffer>`, for the checkpoint."""
        found: dict[str, Tensor] = {}
        for optimizer, names in self._named():
            by_index = optimizer.state_dict()["state"]
            for index, buffers in by_index.items():
                for key, value in buffers.items():
                    found[f"{names[index]}/{key}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: dict[str, Tensor], *, started: bool = True) -> None:
        """Inverse of `tensors`; raises ValueError for state that no optimizer leaves, or that a `started` one lacks."""
        for optimizer, names in self._named():
            state: dict[int, dict[str, Any]] = {}
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for index, (name, parameter) in enumerate(zip(names, parameters, strict=True)):
                own = {k.rpartition("/")[2]: v for k, v in tensors.items() if k.rpartition("/")[0] == name}
                if own or started:
                    _check_buffers(name, parameter, own, adamw=isinstance(optimizer, torch.optim.AdamW))
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
        fused = parameters[0].device.type == "cuda"
        return torch.optim.AdamW(groups, betas=self.section.betas, eps=self.section.eps, fused=fused)

    def _build_matrices(self, named: dict[str, nn.Parameter]) -> torch.optim.Optimizer:
        """The section's optimizer; NuMuon with a group of its own for the MLP's down projections."""
        section = self.section
        parameters = list(named.values())
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
        if section.name == "muon":
            if self._dtype == torch.bfloat16:
                return torch.optim.Muon(parameters, **shared)
            # torch's own supports bfloat16 alone; NuMuon at full rank is the same optimizer
            shared |= {"dtype": self._dtype, "ns_coefficients": _MUON_QUINTIC}
            return NuMuon(parameters, process_group=self._group, **shared)
        down = [item for item in named.items() if _is_down(item[0])]
        others = [item for item in named.items() if not _is_down(item[0])]
        groups = [{"params": each} for each in (others, down) if each]
        return NuMuon(groups, dtype=self._dtype, process_group=self._group, **shared)


def _is_down(name: str) -> bool:
    return name.endswith("mlp.down.weight")


def _check_buffers(name: str, parameter: Tensor, buffers: dict[str, Tensor], *, adamw: bool) -> None:
    """Raise ValueError where a parameter's buffers are not those of its optimizer: names, shapes, finite floats."""
    shape = tuple(parameter.shape)
    wanted = {"step": (), "exp_avg": shape, "exp_avg_sq": shape} if adamw else {"momentum_buffer": shape}
    for key, expected in wanted.items():
        if key not in buffers:
            raise ValueError(f"lacks the {key} of {name}")
        if tuple(buffers[key].shape) != expected:
            raise ValueError(f"the {key} of {name} is {tuple(buffers[key].shape)}, not {expected}")
    for key, buffer in buffers.items():
        if not buffer.is_floating_point() or not bool(torch.isfinite(buffer).all()):
            raise ValueError(f"the {key} of {name} contains NaN or infinite numbers")
    basis = buffers.get("basis")
    if basis is not None and (basis.ndim != 2 or basis.shape[0] != min(shape) or not 1 <= basis.shape[1] <= min(shape)):
        raise ValueError(f"the basis of {name} is {tuple(basis.shape)}, which fits no matrix {shape}")
