"""Where to compute."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from golf.errors import EnvironmentFailure

if TYPE_CHECKING:
    import torch


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
