"""Stack matrices of one shape and rank for batched matmuls, within a memory limit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from golf.optim.parameter_update import ParameterUpdate

# Working bytes of a stack. On a CPU batched matmuls save only launch overhead, and gain little beyond its caches:
# torch's Muon holds 5.2 MB for one 1024 x 512 matrix. A GPU needs large stacks to be busy, and has the memory.
DEFAULT_BYTES = {"cpu": 6_000_000, "cuda": 256_000_000}


def cut(
    updates: Sequence[ParameterUpdate], *, dtype: torch.dtype, most_bytes: int | None
) -> Iterator[list[ParameterUpdate]]:
    """Yield stacks of updates of one `kind`, each as large as fits in `most_bytes`, and of at least one update.

    Matmuls are in `dtype`; `most_bytes` None is the device's default.
    """
    by_kind: dict[tuple[Any, ...], list[ParameterUpdate]] = {}
    for update in updates:
        by_kind.setdefault(update.kind, []).append(update)
    for alike in by_kind.values():
        first = alike[0]
        bound = (
            DEFAULT_BYTES.get(first.parameter.device.type, DEFAULT_BYTES["cpu"]) if most_bytes is None else most_bytes
        )
        most = 1 if first.group["exact"] else max(1, bound // first.working_bytes(dtype.itemsize))
        for start in range(0, len(alike), most):
            yield alike[start : start + most]


def stack_aims(updates: Sequence[ParameterUpdate], dtype: torch.dtype) -> Tensor:
    """The updates' aims as (B, M, N), or (M, N) for a single one, since plain matmuls are faster than batched ones."""
    if len(updates) == 1:
        return updates[0].aim.to(dtype)
    stack = torch.empty(len(updates), *updates[0].sides, dtype=dtype, device=updates[0].parameter.device)
    for update, own in zip(updates, stack.unbind(), strict=True):
        own.copy_(update.aim)
    return stack


def stack_bases(updates: Sequence[ParameterUpdate], aims: Tensor) -> Tensor:
    """The updates' bases, (B, N, k) or (N, k), for the `aims` of `stack_aims`; a single one may be the state's own."""
    bases = [update.basis(aim) for update, aim in zip(updates, unstack(aims), strict=True)]
    return bases[0] if len(bases) == 1 else torch.stack(bases)


def unstack(found: Tensor) -> tuple[Tensor, ...]:
    """A stack (B, M, N), or a single matrix (M, N), as one matrix for each update."""
    return (found,) if found.ndim == 2 else found.unbind()
