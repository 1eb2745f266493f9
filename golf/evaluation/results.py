"""What evaluation and verification return: plain values that reports turn into tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
