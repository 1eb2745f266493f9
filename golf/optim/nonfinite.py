"""Detect non-finite gradients without a device synchronization."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# A copy on the host, and a function that says whether it has arrived.
Sent = tuple[Tensor, Callable[[], bool]]


def sums_of(gradients: Sequence[Tensor]) -> Tensor:
    """Sums (n,) float32 of the gradients, not finite where an entry is not. A sum takes a tenth of a norm's time."""
    return torch.stack([gradient.sum(dtype=torch.float32) for gradient in gradients])


def first_not_finite(sums: Tensor) -> int | None:
    """Index of the first sum (n,) that is not finite; waits for the device."""
    if math.isfinite(sums.sum().item()):
        return None
    found = torch.isfinite(sums).logical_not().nonzero()
    return int(found[0]) if len(found) else None


class LateCheck:
    """`first_not_finite` of an earlier step, whose sums have arrived on the host in the meantime.

    While sums have not arrived, steps are not checked: a non-finite momentum makes later gradients non-finite too.
    """

    def __init__(self, send: Callable[[Tensor], Sent] | None = None) -> None:
        """`send` starts a copy to the host; by default from the current CUDA stream to pinned memory."""
        self._send = _send if send is None else send
        self._pending: tuple[list[Tensor], Tensor, Callable[[], bool]] | None = None

    def __call__(self, parameters: list[Tensor], sums: Tensor) -> Tensor | None:
        """Record `sums` of the parameters' gradients; return the parameter that was not finite earlier, if known."""
        guilty = None
        if self._pending is not None:
            earlier, host, has_arrived = self._pending
            if not has_arrived():
                return None
            index = first_not_finite(host)
            guilty = None if index is None else earlier[index]
        self._pending = (parameters, *self._send(sums))
        return guilty


def _send(sums: Tensor) -> Sent:
    host = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True)
    host.copy_(sums, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(torch.cuda.current_stream(sums.device))
    return host, arrived.query
