"""Divide matrices between the processes of one run by cost, and exchange the results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def balance(costs: Sequence[float], processes: int) -> list[int]:
    """The process that owns each item: items by descending cost, each to the process with the least load so far.

    Graham's rule (longest processing time first): the largest load is at most 4/3 of the optimum. Ties go to the lower
    index, so that every process computes the same result.
    """
    loads, owners = [0.0] * processes, [0] * len(costs)
    for item in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        owners[item] = min(range(processes), key=lambda p: (loads[p], p))
        loads[owners[item]] += costs[item]
    return owners


def exchange(
    sizes: Sequence[int],
    owners: Sequence[int],
    own: Sequence[Tensor],
    *,
    dtype: torch.dtype,
    device: torch.device,
    group: dist.ProcessGroup,
) -> list[Tensor]:
    """Every item's flat tensor on every process, given this process's `own` in order; `sizes` are in elements.

    One all_gather of pieces padded to the largest share, which costs less than a message for each item. Raises
    ConnectionError where another process has ended.
    """
    processes, rank = dist.get_world_size(group), dist.get_rank(group)
    shares = [[size for size, owner in zip(sizes, owners, strict=True) if owner == p] for p in range(processes)]
    piece = torch.zeros(max(map(sum, shares)), dtype=dtype, device=device)
    if own:
        torch.cat(list(own), out=piece[: sum(shares[rank])])
    gathered = [torch.empty_like(piece) for _ in range(processes)]
    # as bytes, because gloo does not support every dtype
    into, sent = [each.view(torch.uint8) for each in gathered], piece.view(torch.uint8)
    try:
        dist.all_gather(into, sent, group=group)
    except RuntimeError as error:  # whatever gloo and NCCL call it
        raise ConnectionError(str(error)) from error
    parts = [iter(_split(row, share)) for row, share in zip(gathered, shares, strict=True)]
    return [next(parts[owner]) for owner in owners]


def _split(row: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """The items at the start of a piece."""
    rest = row.numel() - sum(sizes)
    parts: tuple[Tensor, ...] = row.split([*sizes, rest])  # type: ignore[no-untyped-call]
    return parts
