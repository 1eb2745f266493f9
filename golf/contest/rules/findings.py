"""Finding: the state of one rule, with evidence; and the profiles of rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["PASS", "FAIL", "CANNOT TELL"]
# strict: the rules as they are written. as-judged: those for which the contest's judges rejected submissions.
Profile = Literal["strict", "as-judged"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True)
class Finding:
    """One rule's state (PASS, FAIL or CANNOT TELL) and its evidence."""

    rule: str
    state: State
    evidence: str


def verdict(rule: str, passed: bool, evidence: str) -> Finding:
    """PASS or FAIL."""
    return Finding(rule, "PASS" if passed else "FAIL", evidence)


def unknown(rule: str, evidence: str) -> Finding:
    """CANNOT TELL."""
    return Finding(rule, "CANNOT TELL", evidence)
