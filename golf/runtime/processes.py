"""The processes of one run: they hold equal models, see different rows of a batch, and agree after every step.

One process is the plain case: nothing is sent, nothing waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from golf.errors import EnvironmentFailure, UsageError

_DIED = "another process of this run ended; the last checkpoint is kept, continue it with --resume"


@dataclass(frozen=True)
class Processes:
    """One process's `rank` among `count`; `group` is None where it is alone."""

    rank: int = 0
    count: int = 1
    group: dist.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def rows(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give this process's rows of `batch` (B, T+1); UsageError where there are fewer rows than processes."""
        if len(batch) < self.count:
            raise UsageError(f"a batch of {len(batch)} sequences cannot be shared by {self.count} processes")
        return np.array_split(batch, self.count)[self.rank]

    def add_up(self, tensors: Sequence[Tensor], figures: Sequence[float]) -> list[float]:
        """Replace `tensors` by their sums over all processes, in one message with `figures`, whose sums are returned.

        Raises EnvironmentFailure where another process has ended.
        """
        if self.group is None:
            return list(figures)
        device = tensors[0].device
        flat = torch.cat([*(t.flatten() for t in tensors), torch.tensor(figures, dtype=torch.float32, device=device)])
        with explain_lost_process(RuntimeError):
            dist.all_reduce(flat, group=self.group)
        parts = flat.split([*(t.numel() for t in tensors), len(figures)])  # type: ignore[no-untyped-call]
        for tensor, part in zip(tensors, parts, strict=False):
            tensor.copy_(part.view_as(tensor))
        sums: list[float] = parts[-1].tolist()
        return sums

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.group is not None:
            with explain_lost_process(RuntimeError):
                dist.barrier(group=self.group)


ALONE = Processes()


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that torchrun, or golf train --nproc, has started with this one; gloo on the CPU, NCCL on CUDA."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend)
    try:
        yield Processes(dist.get_rank(), count, dist.group.WORLD)
    finally:
        dist.destroy_process_group()


@contextmanager
def explain_lost_process(kind: type[Exception] = ConnectionError) -> Iterator[None]:
    """Raise EnvironmentFailure in place of a `kind` of error that only a lost process causes within the block.

    Within torch's collectives alone that is any RuntimeError, torch's DistBackendError among them.
    """
    try:
        yield
    except kind as error:
        raise EnvironmentFailure(f"{_DIED} ({str(error).splitlines()[0][:120]})") from error
