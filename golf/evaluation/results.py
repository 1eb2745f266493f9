"""Evaluation, Check and Verdict: results of evaluation and verification, as plain values for tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """A model's loss on one text."""

    text: str
    chosen_by: str
    """Whose choice the text was: the recipe's in the artifact or the run, or that of the caller (--data)."""
    loss: float
    """Nats per token."""
    bpb: float | None
    """Bits per byte of the text; None for shards where nobody but the model says what its tokens stand for."""
    contest_bpb: float | None
    """The contest's bits per byte, which leave out what the tokenizer changed."""
    tokens: int
    bytes: int | None
    restoring_bits: int
    """Bits that restore the text from what its tokens decode to."""
    counted_by: str | None
    """Whose tokenizer counted the bytes of shards; None for text."""


@dataclass(frozen=True)
class Evaluation(Measured):
    """What `golf evaluate` measured, and how."""

    model: Path
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
class Proof:
    """A text that was coded with the model's probabilities and decoded again (golf.evaluation.prove)."""

    tokens: int
    text_bytes: int | None
    """None for shards, which hold tokens and no text."""
    code_bytes: int
    script_bytes: int
    """Bytes that restore what the tokenizer leaves out; 0 where it leaves out nothing."""
    expected_bits: float
    """Bits that the measured loss of these tokens stands for."""
    restored: bool
    """Whether the decoded text is the given one, byte for byte."""
    held: bool
    """Whether the code is as short as the loss says, but for the coder's own bits."""


@dataclass(frozen=True)
class Verdict:
    """Size and loss of an artifact, measured from the file alone, and all checks."""

    artifact: Path
    size: int
    claim: Measured | None
    """The model on the claim's text; None where that text was not there, or nothing is claimed."""
    own: Measured | None
    """The model on the verifier's text, or, where neither a text nor a claim was at hand, on the artifact's."""
    notes: list[str]
    checks: list[Check]
    seconds: float
    proof: Proof | None = None

    @property
    def measured(self) -> Measured | None:
        """The measurement that the verifier asked for; None under --caps-only."""
        return self.own or self.claim

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    @property
    def claim_held(self) -> bool:
        """Whether the loss was checked against the artifact's claim, which is possible only on the claim's own text."""
        return self.claim is not None

    @property
    def loss_held(self) -> bool:
        """Whether the loss was checked at all: against the claim, or against a bound of the verifier's own."""
        return self.claim_held or any(check.name in LOSS_BOUNDS for check in self.checks)


# Names of the checks that hold a loss against a bound of the verifier's own.
LOSS_BOUNDS = ("largest bits per byte", "largest nats per token")
