"""PackResult and Curve: what a pack returns, as plain values that reports turn into tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golf.artifact.ledger import Ledger


@dataclass(frozen=True)
class FactorsEntry:
    """The low-rank factors of one matrix; `energy` is their share of the weighted matrix's squared Frobenius norm.

    `saved` is the number of bytes by which the matrix would be larger without factors at the same step (negative:
    smaller, at a higher loss).
    """

    name: str
    rank: int
    energy: float
    saved: int


@dataclass(frozen=True)
class RateLedger:
    """Bits per weight of the matrices: `ideal` + `coder` + `side`, with `ideal` = `limit` + `shaping`.

    `ideal` is the conditional entropy of the symbols, `coder` the bits of the real entropy coder and its tables above
    it, `side` the bits of step codes, context scales and factors. `limit` is the rate-distortion limit of Gaussian
    weights whose rows differ in variance, at the predicted gap of the symbols; after fine-tuning, which the prediction
    does not cover, at the gap measured on held-out training text. `shaping` is .2546 for scalar quantization at high
    rates, less where columns differ too, and can be below 0 after fine-tuning, which is not bound by the quadratic
    model. Both are None where the gap is ≤ 0, for which no limit is known.
    """

    ideal: float
    limit: float | None
    shaping: float | None
    coder: float
    side: float


@dataclass(frozen=True)
class ClockLedger:
    """Seconds of a run by use. Training text is read during the first four, and at no other time.

    `clock` is the recipe's budget.clock: it decides which seconds count against `max_seconds`.
    """

    training: float | None
    """None for imported weights."""
    calibration: float
    tuning: float
    looks: float
    packing: float
    """All other seconds of the pack: reading, decomposing, solving, writing."""
    evaluation: float
    """Measuring the float and the packed model on validation text."""
    clock: Literal["training", "calibration"]
    counted: float | None
    max_seconds: float | None
    within: bool | None
    """Whether `counted` ≤ `max_seconds`; None where there is no limit, or the training's time is not known."""


@dataclass(frozen=True)
class CandidateEntry:
    """One compression method: the results of its pack, or the reason why it was not tried."""

    method: str
    fine_tuned: bool
    kept: bool = False
    size: int | None = None
    training_gap: float | None = None
    """Loss minus the float model's, nats per token, on held-out training text."""
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
    """True where the byte budget decided the step, False where `target_gap` was reached in fewer bytes."""
    bits_per_weight: float
    float_loss: float
    float_bpb: float
    loss: float
    bpb: float
    predicted_gap: float
    training_gap: float
    """Loss of the packed model minus the float model's on held-out training text, nats per token."""
    rounded_training_gap: float | None
    """The least such gap without fine-tuning at this cap; None where nothing was fine-tuned."""
    candidates: list[CandidateEntry]
    """Every method: its results where it was tried, else the reason."""
    factors: list[FactorsEntry]
    rate: RateLedger
    probes: int
    seconds: dict[str, float]
    clock: ClockLedger
    ledger: Ledger

    @property
    def tuned(self) -> bool:
        """Whether the pack that was kept is fine-tuned."""
        return any(each.kept and each.fine_tuned for each in self.candidates)


@dataclass(frozen=True)
class CurvePoint:
    """A pack at one size; `bits_per_weight` counts the matrices alone, losses are measured as re-read from disk."""

    byte_budget: int
    """Bytes that it was packed for, artifact alone."""
    size: int
    bits_per_weight: float
    loss: float
    bpb: float
    training_gap: float
    tuned: bool


@dataclass(frozen=True)
class Curve:
    """Losses of one checkpoint packed at many sizes; `smallest` is the size with all weights zero, in bytes."""

    run: Path
    weights: int
    smallest: int
    float_loss: float
    float_bpb: float
    cap: int
    """The recipe's cap less its code, bytes."""
    points: list[CurvePoint]
    seconds: dict[str, float]
    inputs: str
    """SHA-256 of what the points depend on: weights, recipe and release; points of other inputs are no use."""
