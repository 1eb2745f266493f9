"""Run float32 matmuls at bfloat16 speed where inputs are exactly representable in bfloat16; accumulate in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products_of(dtype: torch.dtype) -> Iterator[None]:
    """Within the block, inputs of float32 matmuls must be representable in `dtype`; a CPU with AMX then uses bfloat16.

    No precision is lost: the product of two bfloat16 numbers is exact in float32. torch has no matmul of bfloat16
    matrices on the CPU that returns float32, only this setting of its oneDNN backend. It belongs to the process, so
    float32 matmuls of other threads are rounded too in the meantime; it is restored at the end. CPUs without AMX, and
    torch.compile, which cannot trace the setting, use float32.
    """
    if dtype != torch.bfloat16 or torch.compiler.is_compiling():
        yield
        return
    backend = torch.backends.mkldnn
    setting = backend.matmul  # type: ignore[attr-defined]
    # the value read may be the backend's own setting; "none" restores following it
    before = setting.fp32_precision
    own = "none" if before == backend.fp32_precision else before
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = own
