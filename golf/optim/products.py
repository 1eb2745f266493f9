"""Products of float32 matrices whose numbers a shorter type holds: at its speed, summed and kept in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products_of(dtype: torch.dtype) -> Iterator[None]:
    """Within, float32 products are of numbers that `dtype` holds; a CPU that multiplies bfloat16 faster does so then.

    Nothing is lost: products of two bfloat16 numbers are exact in float32. torch has no product of bfloat16 matrices on
    the CPU that returns float32, only this setting of its oneDNN backend, which is the process's and is put back.
    Other CPUs and devices multiply as always; so does torch.compile, which cannot trace the setting.
    """
    if dtype != torch.bfloat16 or torch.compiler.is_compiling():
        yield
        return
    setting = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = setting.fp32_precision
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = before
