"""What a rule finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

State = Literal["PASS", "FAIL", "CANNOT TELL"]
# strict: the rules as they are written. as-judged: what the contest's judges turned submissions down for.
Profile = Literal["strict", "as-judged"]
PROFILES: tuple[Profile, ...] = get_args(Profile)


@dataclass(frozen=True)
class Finding:
    """One rule's verdict, with what it rests on."""

    rule: str
    state: State
    evidence: str


def verdict(rule: str, passed: bool, evidence: str) -> Finding:
    """PASS or FAIL."""
    return Finding(rule, "PASS" if passed else "FAIL", evidence)


def unknown(rule: str, evidence: str) -> Finding:
    """CANNOT TELL."""
    return Finding(rule, "CANNOT TELL", evidence)
