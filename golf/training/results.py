"""TrainResult, Plan and Speed: what a training, its dry run and its timing return, as values for tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainResult:
    """A finished training: losses in nats per token, measured on the checkpoint as re-read from disk."""

    run: Path
    steps: int
    tokens: int
    parameters: int
    val_loss: float
    val_bpb: float
    xz_bpb: float
    """Bits per byte of `xz -9e` on the same text, a baseline without a model."""
    val_tokens: int
    val_bytes: int
    seconds: float
    reserved_seconds: float
    """Seconds of train.max_seconds left to packing."""
    predicted_bytes: int
    weights_sha256: str


@dataclass(frozen=True)
class Plan:
    """Size, FLOPs, bytes and estimated time of a training that was not run."""

    name: str
    parameters: int
    by_role: dict[str, int]
    assignments: list[dict[str, Any]]
    tokens: int
    flops: int
    cap: int
    predicted_bytes: int
    cap_bits_per_weight: float
    seconds: float
    device: str


@dataclass(frozen=True)
class Speed:
    """A training's speed as measured on this machine, and the seconds that all of its steps would take."""

    recipe: str
    steps: int
    device: str
    tokens_per_second: float
    seconds: float
