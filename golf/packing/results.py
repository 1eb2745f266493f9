"""What a pack returns: plain values that reports turn into tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golf.artifact.ledger import Ledger


@dataclass(frozen=True)
class FactorsEntry:
    """The low-rank part of one matrix; `energy` is the share of the weighted squared norm that it holds.

    `saved` are the bytes that packing the matrix without it would take more at the same step (negative: fewer, at a
    higher loss).
    """

    name: str
    rank: int
    energy: float
    saved: int


@dataclass(frozen=True)
class RateLedger:
    """Bits per weight of the matrices: `ideal`, `coder` and `side` add up to them, `limit` and `shaping` to `ideal`.

    `ideal` is what ideal codes of the symbols need, `coder` what the real ones and their tables need above it, `side`
    are step codes, context scales and factors. `limit` is the rate-distortion limit of Gaussian weights whose rows have
    variances of their own, at the loss that the symbols are predicted to cost; of fine-tuned ones, whose prediction
    knows nothing of what tuning gained, at what they were measured to cost on training text. `shaping` is .2546 for
    scalar quantization at high rates, less where columns differ too, and below 0 where fine-tuning finds what the
    quadratic model does not know. Both are None where fine-tuning made the model better than the float one: no limit is
    known for that.
    """

    ideal: float
    limit: float | None
    shaping: float | None
    coder: float
    side: float


@dataclass(frozen=True)
class ClockLedger:
    """Where the seconds of a run went. Training text is read in the first four, and nowhere else.

    `clock` is the recipe's budget.clock: what of it counts against `max_seconds`.
    """

    training: float | None
    """None for imported weights"""
    calibration: float
    tuning: float
    looks: float
    packing: float
    """all else but measuring: reading, decomposing, solving, writing"""
    evaluation: float
    """measuring the float and the packed model on the validation text"""
    clock: Literal["training", "calibration"]
    counted: float | None
    max_seconds: float | None
    within: bool | None
    """None where there is no limit, or the training's time is not known"""


@dataclass(frozen=True)
class CandidateEntry:
    """One method of compressing: what its pack came to, or the reason why it was not tried."""

    method: str
    kept: bool = False
    size: int | None = None
    training_gap: float | None = None
    """nats per token over the float model, on training text held out from fine-tuning"""
    seconds: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class PackResult:
    """A written artifact, measured as re-read from disk."""

    artifact: Path
    cap: int
    code_bytes: int
    size: int
    binding: bool
    """whether the cap decided; else the wanted quality was reached below it"""
    bits_per_weight: float
    float_loss: float
    float_bpb: float
    loss: float
    bpb: float
    predicted_gap: float
    training_gap: float
    """loss of the packed model minus the float model's on held-out training text, nats per token"""
    rounded_training_gap: float | None
    """the same by the best rounding that was tried at this cap; None where nothing was tuned"""
    candidates: list[CandidateEntry]
    """every method: its figures where it was tried, else the reason"""
    factors: list[FactorsEntry]
    rate: RateLedger
    probes: int
    seconds: dict[str, float]
    clock: ClockLedger
    ledger: Ledger

    @property
    def tuned(self) -> bool:
        """Whether symbols were tuned and are better for it."""
        return self.rounded_training_gap is not None and self.training_gap < self.rounded_training_gap


@dataclass(frozen=True)
class CurvePoint:
    """A pack at one size; bits a weight count the matrices alone, losses are measured as re-read from disk."""

    size: int
    bits_per_weight: float
    loss: float
    bpb: float
    training_gap: float
    tuned: bool


@dataclass(frozen=True)
class Curve:
    """What a checkpoint is worth at every size; `smallest` is the file in which every weight is zero."""

    run: Path
    weights: int
    smallest: int
    float_loss: float
    float_bpb: float
    points: list[CurvePoint]
    seconds: dict[str, float]
