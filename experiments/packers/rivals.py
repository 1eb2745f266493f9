"""The packers that golf is measured against, as well as their authors did them: each gives weights and file bytes.

1. int8 per row (clipped at the 99.99984th percentile, fp16 scales) and zlib: the contest's baseline.
2. GPTQ (arXiv:2210.17323) with the full Hessian, columns by falling diagonal, steps proportional to a row's standard
   deviation, embedding in int8, matrices of one role joined, brotli-11 or ZPAQ over the better of both transpositions:
   the contest's record.
3. Whitened SVD truncation (SVD-LLM, arXiv:2403.07378) with int8 factors.

Small tensors and the tokenizer, compressed, count into every file, as they do in golf's; shapes cost nothing.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from experiments.packers.zpaq import zpaq_size
from golf.model import Transformer, role

Weights = dict[str, NDArray[np.float32]]
EMBEDDING = "embedding.weight"
_DAMPING = 0.01
_INT6, _INT8 = 31, 127


@dataclass(frozen=True)
class Rival:
    """Weights as they come back, bytes by compressor, and the step in standard deviations where there is one."""

    weights: Weights
    bytes: dict[str, int]
    step: float = 0.0


class _Inputs(TorchFunctionMode):
    """Adds up x xᵀ of every product with a named parameter."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in model.named_parameters() if p.ndim == 2}
        self.sums: dict[str, Tensor] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is F.linear and (name := self.names.get(id(args[1]))):
            x = args[0].flatten(0, -2).double()
            self.sums[name] = self.sums.get(name, 0) + x.T @ x
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def hessians(model: Transformer, batches: Iterable[Tensor]) -> dict[str, NDArray[np.float64]]:
    """E[x xᵀ] (N, N) of the inputs of every matrix; for the tied embedding those of the output layer."""
    watch, tokens = _Inputs(model), 0
    with watch:
        for batch in batches:
            model(batch[:, :-1])
            tokens += batch[:, :-1].numel()
    return {name: (total / tokens).numpy() for name, total in watch.sums.items()}


def matrices_of(model: Transformer) -> Weights:
    """Every matrix as float32."""
    return {n: p.detach().float().numpy() for n, p in model.named_parameters() if p.ndim == 2}


def int8_zlib(model: Transformer, extra: bytes) -> Rival:
    """The contest's baseline."""
    streams, weights = [extra], {}
    for name, W in matrices_of(model).items():
        clip = np.quantile(np.abs(W), 0.9999984, axis=1, keepdims=True).astype(np.float32)
        scale = np.maximum(clip / _INT8, 1e-12).astype(np.float16).astype(np.float32)
        codes = np.clip(np.rint(W / np.maximum(scale, 1e-8)), -_INT8, _INT8).astype(np.int8)
        streams += [codes.tobytes(), scale.astype(np.float16).tobytes()]
        weights[name] = codes * scale
    return Rival(weights, {"zlib": len(zlib.compress(b"".join(streams), 9))})


def gptq(
    model: Transformer,
    hessian: dict[str, NDArray[np.float64]],
    *,
    k: float,
    embedding_k: float,
    extra: bytes,
    zpaq: bool = False,
) -> Rival:
    """The record's way: step k · std(row) / 31, for the embedding embedding_k · std(row) / 127."""
    weights: Weights = {}
    streams: dict[str, list[NDArray[np.int8]]] = {}
    scales = [extra]
    for name, W in matrices_of(model).items():
        levels, factor = (_INT8, embedding_k) if name == EMBEDDING else (_INT6, k)
        scale = (factor * W.std(1, keepdims=True) / levels).astype(np.float16).astype(np.float32)
        scale = np.maximum(scale, 1e-7)
        codes = _gptq_codes(W, scale, levels, hessian[name])
        weights[name] = codes * scale
        streams.setdefault(role(name), []).append(codes)
        scales.append(scale.astype(np.float16).tobytes())
    joined = [np.concatenate(group) for group in streams.values()]
    return Rival(weights, _compressed(joined, b"".join(scales), zpaq=zpaq), k / _INT6)


def _gptq_codes(
    W: NDArray[np.float32], scale: NDArray[np.float32], levels: int, H: NDArray[np.float64]
) -> NDArray[np.int8]:
    """GPTQ's column recursion by falling diagonal, in blocks of 128, with the Cholesky factor of the inverse."""
    order = np.argsort(-np.diag(H), kind="stable")
    N = len(H)
    damped = torch.from_numpy(H[np.ix_(order, order)] + _DAMPING * np.trace(H) / N * np.eye(N))
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True).float()
    left = torch.from_numpy(W[:, order].T.copy())
    step = torch.from_numpy(scale[:, 0])
    codes = torch.empty_like(left)
    for start in range(0, N, 128):
        end = min(start + 128, N)
        errors = torch.empty(end - start, left.shape[1])
        for j in range(start, end):
            codes[j] = (left[j] / step).round().clamp(-levels, levels)
            errors[j - start] = (left[j] - codes[j] * step) / inverse[j, j]
            left[j:end] -= torch.outer(inverse[j, j:end], errors[j - start])
        left[end:] -= inverse[start:end, end:].T @ errors
    result = np.empty(W.shape, dtype=np.int8)
    result[:, order] = codes.numpy().T.astype(np.int8)
    return result


def whitened_svd(model: Transformer, hessian: dict[str, NDArray[np.float64]], *, share: float, extra: bytes) -> Rival:
    """Every matrix cut to the rank at which int8 factors take `share` of its weights, in the metric of its inputs."""
    weights: Weights = {}
    streams, scales = [], [extra]
    for name, W in matrices_of(model).items():
        M, N = W.shape
        H = hessian[name]
        lower = np.linalg.cholesky(H + _DAMPING * np.trace(H) / N * np.eye(N))
        U, S, V = np.linalg.svd(W @ lower, full_matrices=False)
        rank = max(1, min(round(share * M * N / (M + N)), len(S)))
        left, right = (
            U[:, :rank] * np.sqrt(S[:rank]),
            np.linalg.solve(lower.T, (V[:rank] * np.sqrt(S[:rank, None])).T).T,
        )
        parts = []
        for factor, axis in ((left, 0), (right, 1)):
            scale = np.maximum(np.abs(factor).max(axis, keepdims=True) / _INT8, 1e-7).astype(np.float16).astype(float)
            codes = np.rint(factor / scale).clip(-_INT8, _INT8).astype(np.int8)
            streams.append(codes)
            scales.append(scale.astype(np.float16).tobytes())
            parts.append(codes * scale)
        weights[name] = (parts[0] @ parts[1]).astype(np.float32)
    return Rival(weights, _compressed(streams, b"".join(scales), zpaq=False))


def _compressed(streams: list[NDArray[np.int8]], rest: bytes, *, zpaq: bool) -> dict[str, int]:
    """Bytes of the streams, each as it lies or transposed, whichever brotli likes better, and of the rest."""
    chosen, total = [], _brotli_size(rest)
    for stream in streams:
        both = [stream.tobytes(), np.ascontiguousarray(stream.T).tobytes()]
        sizes = [_brotli_size(each) for each in both]
        total += min(sizes)
        chosen.append(both[int(np.argmin(sizes))])
    found = {"brotli": total}
    if zpaq and shutil.which("lrzip"):
        found["zpaq"] = zpaq_size(b"".join(chosen) + rest)
    return found


def _brotli_size(content: bytes) -> int:
    import brotli

    return len(brotli.compress(content, quality=11, lgwin=24))
