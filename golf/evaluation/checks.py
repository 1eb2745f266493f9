"""The checks of a verdict: bytes against the cap, a loss against its claim and against the verifier's bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from golf.artifact import BudgetEntry, Claim
from golf.artifact.layout import RESTORING_FROM
from golf.errors import DamagedFile, UsageError
from golf.evaluation.loss import Score, bits_per_byte
from golf.evaluation.results import LOSS_BOUNDS, Check, Measured, Proof

# Largest tolerance of a claim, nats per token. Another machine's float32 arithmetic changes a loss by 1e-6 to 1e-4.
MAX_TOLERANCE = 0.01
# Half a unit of a claim's last decimal.
_ROUNDING = 5e-7


class Bound(NamedTuple):
    """A limit and its source: a flag, a recipe's path, or the artifact."""

    value: float
    whose: str


@dataclass(frozen=True)
class Bounds:
    """The verifier's limits on an artifact; where cap or code bytes are None, the artifact's own count."""

    cap: Bound | None = None
    code_bytes: Bound | None = None
    max_bpb: Bound | None = None
    max_loss: Bound | None = None

    @property
    def of_loss(self) -> bool:
        """Whether the verifier bounds the loss."""
        return self.max_bpb is not None or self.max_loss is not None


def size_check(size: int, bounds: Bounds, budget: BudgetEntry) -> Check:
    """Check the bytes of the file and of its code against the cap."""
    cap = bounds.cap or Bound(budget.cap, "artifact")
    code = int((bounds.code_bytes or Bound(budget.code_bytes, "artifact")).value)
    name = f"bytes, {code:,} of code included" if code else "bytes"
    margin = int(cap.value) - size - code
    return Check(name, int(cap.value), size + code, margin >= 0, cap.whose, margin)


def bound_checks(found: Measured, bounds: Bounds) -> list[Check]:
    """Check a measurement against the verifier's bounds; without any it is shown, and passes where it is finite.

    Raises UsageError where bits per byte are bounded and nobody knows the bytes of the text.
    """
    limits = zip(LOSS_BOUNDS, (bounds.max_bpb, bounds.max_loss), (found.bpb, found.loss), strict=True)
    checks = []
    for name, limit, value in limits:
        if limit is None:
            continue
        if value is None:
            raise UsageError(
                f"{found.text} holds tokens, and nobody but the artifact says how many bytes they stand for, so "
                f"{limit.whose} cannot be held; name their tokenizer with --tokenizer, or bound --max-loss"
            )
        checks.append(Check(name, limit.value, value, limit.value - value >= 0, limit.whose, limit.value - value))
    if not checks:
        name, value = ("nats per token", found.loss) if found.bpb is None else ("bits per byte", found.bpb)
        checks = [Check(name, None, value, None if math.isfinite(value) else False, found.chosen_by)]
    return checks


def claim_checks(score: Score, found: Measured, claim: Claim, version: int) -> list[Check]:
    """Check every number of the artifact's claim on the claim's text; raises DamagedFile over MAX_TOLERANCE.

    A claim fails in both directions: a loss far below it was not measured on this file either. A loss that is not
    finite fails every check. Claims of format versions before RESTORING_FROM do not count what restores the text: they
    are held where that costs less than their tolerance.
    """
    if claim.tolerance > MAX_TOLERANCE:
        raise DamagedFile("manifest", f"claims a loss within {claim.tolerance:g}; at most {MAX_TOLERANCE:g} is a claim")
    restores = version >= RESTORING_FROM
    counted = score.bytes if restores or score.counted_bytes is None else score.counted_bytes
    checks = [
        _near("nats per token", claim.val_loss, score.loss, claim.tolerance),
        Check("tokens scored", claim.tokens, score.tokens, claim.tokens == score.tokens, "artifact"),
    ]
    if found.bpb is not None:
        tolerance = bits_per_byte(claim.tolerance, tokens=score.tokens, bytes_=counted)
        bpb = score.bpb if restores else score.contest_bpb
        checks += [
            _near("bits per byte", claim.bpb, bpb, tolerance),
            Check("bytes scored", claim.bytes, counted, claim.bytes == counted, "artifact"),
        ]
    else:
        checks.append(Check("bits per byte", claim.bpb, "unknown", None, "artifact"))
    if restores and (score.restoring_bits or claim.restoring_bits):
        # another zlib or xz may write a script of some other bytes
        left = 64 + score.restoring_bits // 100 - abs(score.restoring_bits - claim.restoring_bits)
        checks.append(
            Check("bits that restore the text", claim.restoring_bits, score.restoring_bits, left >= 0, "artifact", left)
        )
        theirs, ours = claim.counted_bytes, score.counted_bytes or 0
        if theirs:  # which golf 0.11.0 did not write
            checks.append(Check("bytes as the contest counts", theirs, ours, theirs == ours, "artifact"))
    if score.restoring_bits and not restores:
        most = int(claim.tolerance / math.log(2) * score.tokens)
        margin = most - score.restoring_bits
        checks.append(Check("bits that restore the text", most, score.restoring_bits, margin >= 0, "artifact", margin))
    return checks


def proof_checks(proof: Proof) -> list[Check]:
    """Check that a text came back from its code, and that the code is as long as the loss says."""
    expected = math.ceil(proof.expected_bits / 8)
    what = "the tokens" if proof.text_bytes is None else "the text"
    came_back = what if proof.restored else "something else"
    return [
        Check(f"bytes of {proof.tokens:,} tokens' code", expected, proof.code_bytes, proof.held, "measured loss"),
        Check("decoded from the code", what, came_back, proof.restored, "measured loss"),
    ]


def _near(name: str, claimed: float, actual: float, tolerance: float) -> Check:
    left = tolerance + _ROUNDING - abs(actual - claimed)
    return Check(name, claimed, actual, left >= 0, "artifact", left)
