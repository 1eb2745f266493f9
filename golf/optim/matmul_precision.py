"""Products of float32 matrices whose numbers a shorter type holds: at its speed, summed and kept in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products_of(dtype: torch.dtype) -> Iterator[None]:
    """Within, float32 products are of numbers that `dtype` holds; a CPU with AMX then multiplies bfloat16's as such.

    Nothing is lost: products of two bfloat16 numbers are exact in float32. torch has no product of bfloat16 matrices on
    the CPU that returns float32, only this setting of its oneDNN backend. It is the process's, so other threads'
    float32 products meanwhile are rounded too, and is put back. Other CPUs multiply float32; so does torch.compile,
    which cannot trace the setting.
    """
    if dtype != torch.bfloat16 or torch.compiler.is_compiling():
        yield
        return
    backend = torch.backends.mkldnn
    setting = backend.matmul  # type: ignore[attr-defined]
    # what is read may be the backend's own setting, which "none" goes on to follow
    before = setting.fp32_precision
    own = "none" if before == backend.fp32_precision else before
    setting.fp32_precision = "bf16"
    try:
        yield
    finally:
        setting.fp32_precision = own
