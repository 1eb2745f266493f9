"""Plain values that flows return; reports turn them into tables and JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

TENSOR_PARTS = ("left", "right", "residual", "scales")


def to_json(value: Any) -> dict[str, Any]:
    """A result as a JSON object; paths become text."""
    return {k: _plain(v) for k, v in asdict(value).items()}


def finite(value: Any) -> Any:
    """A JSON value with null for every number that is not finite: JSON knows none."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


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
    """`xz -9e` on the same text: a yardstick that knows no training data"""
    val_tokens: int
    val_bytes: int
    seconds: float
    reserved_seconds: float
    """of train.max_seconds, left to packing"""
    predicted_bytes: int
    weights_sha256: str


@dataclass(frozen=True)
class MatrixEntry:
    """One matrix in the ledger; `parts` holds bytes by left, right, residual, scales."""

    name: str
    shape: tuple[int, ...]
    rank: int
    bits_per_weight: float
    parts: dict[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of all its sections."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Ledger:
    """Where every byte of an artifact went; `parts` sums exactly to `total`, the size of the file."""

    total: int
    parts: dict[str, int]
    matrices: list[MatrixEntry] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """A model's loss on a text; `text_bytes` are the text's, `counted_bytes` those its tokens stand for (if known)."""

    model: Path
    text: str
    loss: float
    bpb: float
    tokens: int
    bytes: int
    text_bytes: int | None
    counted_bytes: int | None
    window: int
    stride: int | None
    reset: bool
    documents: int
    seconds: float


@dataclass(frozen=True)
class Imported:
    """Weights that were taken over into a run."""

    run: Path
    parameters: int
    tensors: int


@dataclass(frozen=True)
class SplitEntry:
    """One split of prepared text; `counted_bytes` are what its tokens stand for, BOS is among the tokens."""

    files: int
    documents: int
    tokens: int
    text_bytes: int
    counted_bytes: int
    changed_documents: int


@dataclass(frozen=True)
class PreparedDataset:
    """Shards that were written from text; `encode_seconds` leave out the tokenizer's training."""

    folder: Path
    tokenizer: str
    vocab_size: int
    splits: dict[str, SplitEntry]
    seconds: float
    encode_seconds: float


@dataclass(frozen=True)
class ShardEntry:
    """One shard; `bytes` are those its tokens stand for, None without a tokenizer."""

    name: str
    tokens: int
    documents: int
    bytes: int | None
    largest_token: int


@dataclass(frozen=True)
class DatasetInfo:
    """A folder of shards, all of them sound."""

    folder: Path
    shards: list[ShardEntry]
    tokenizer: str | None
    vocab_size: int | None


@dataclass(frozen=True)
class Fetched:
    """Published shards that are there now; `tokens` by file, `downloaded` what was not there before."""

    folder: Path
    tokenizer: str | None
    vocab_size: int | None
    tokens: dict[str, int]
    downloaded: list[str]
    bytes: int


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
    are scales, spreads and factors. `limit` is the rate-distortion limit of Gaussian weights whose rows have variances
    of their own, at the loss that the symbols are predicted to cost; of tuned ones, whose prediction knows nothing of
    what tuning gained, at what they were measured to cost on training text. `shaping` is .2546 for scalar quantization
    at high rates, less where columns differ too, and below 0 where tuning finds what the quadratic model does not know.
    Both are None where tuning made the model better than the float one: no limit is known for that.
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
    """loss of the packed model minus the float model's on training text, nats per token"""
    rounded_training_gap: float | None
    """the same by the best rounding that was tried at this cap; None where nothing was tuned"""
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


@dataclass(frozen=True)
class Exported:
    """A submission's folder; bytes by file, and those of the script in both its forms. `total` counts against `cap`."""

    folder: Path
    files: dict[str, int]
    code_plain: int
    code_compressed: int
    total: int
    cap: int


@dataclass(frozen=True)
class ExportedWeights:
    """Reconstituted weights for other tools; bytes by file."""

    folder: Path
    files: dict[str, int]
    parameters: int


@dataclass(frozen=True)
class Check:
    """One line of a verdict: what was expected, what was found. `passed` is None where nothing could be held."""

    name: str
    expected: float | int | str | None
    actual: float | int | str
    passed: bool | None
    whose: str
    margin: float | int | None = None


@dataclass(frozen=True)
class Verdict:
    """What a file is worth, from the file alone."""

    artifact: Path
    size: int
    loss: float
    bpb: float
    tokens: int
    bytes: int
    text: str
    """the text that was scored"""
    notes: list[str]
    checks: list[Check]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def claim_held(self) -> bool:
        """Whether the loss was held against the artifact's own claim: only on the text that the claim is made on."""
        return any(check.name == "nats per token" for check in self.checks)


@dataclass(frozen=True)
class Plan:
    """What a training would be, before any of it: nothing is written."""

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
