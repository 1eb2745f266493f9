"""Where to compute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from golf.errors import EnvironmentFailure

if TYPE_CHECKING:
    import torch

# Names of torch.cpu.get_capabilities: x86's vector and tile units, and Arm's.
_BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16")


def resolve_device(name: str) -> torch.device:
    """The device meant by auto, cpu or cuda; raises EnvironmentFailure for a GPU that is not there."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFailure("no CUDA device is available here; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def own_device(device: torch.device) -> torch.device:
    """The device of this process: of several that torchrun or --nproc started, each takes a GPU of its own."""
    import torch

    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    index = int(os.environ["LOCAL_RANK"])
    if index >= torch.cuda.device_count():
        raise EnvironmentFailure(f"process {index} has no GPU: this machine has {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def product_dtype(device: torch.device) -> torch.dtype:
    """The type in which an optimizer's matrix products are fastest: bfloat16 where the hardware multiplies it.

    A CPU without such units emulates it at a sixth of float32's speed (docs/log.md).
    """
    import torch

    if device.type != "cpu":
        return torch.bfloat16
    able: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(able.get(unit) for unit in _BFLOAT16_UNITS) else torch.float32
