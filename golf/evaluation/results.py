"""Evaluation, Check and Verdict: results of evaluation and verification, as plain values for tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Evaluation:
    """A model's loss on a text; `counted_bytes` are the bytes that its tokens stand for, `text_bytes` the text's own.

    Both are None where they are not known.
    """

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
class Check:
    """One line of a verdict: expected and actual value. `passed` is None where there is no bound to check."""

    name: str
    expected: float | int | str | None
    actual: float | int | str
    passed: bool | None
    whose: str
    margin: float | int | None = None


@dataclass(frozen=True)
class Verdict:
    """Size and loss of an artifact, measured from the file alone, and all checks."""

    artifact: Path
    size: int
    loss: float
    bpb: float
    tokens: int
    bytes: int
    text: str
    """Name of the text that was scored."""
    notes: list[str]
    checks: list[Check]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def claim_held(self) -> bool:
        """Whether the loss was checked against the artifact's claim, which is possible only on the claim's own text."""
        return any(check.name == "nats per token" for check in self.checks)
