"""Apply all rules to one folder."""

from __future__ import annotations

from golf.contest.rules.card import card_findings, file_findings
from golf.contest.rules.clock import clock_findings
from golf.contest.rules.code import code_findings
from golf.contest.rules.findings import Finding, Profile
from golf.contest.rules.folder import Submission
from golf.contest.rules.metric import metric_findings, seed_findings
from golf.contest.rules.probes import probe
from golf.contest.rules.sizes import size_findings


def judge(found: Submission, *, cap: int, record: list[float] | None, profile: Profile) -> list[Finding]:
    """Every finding, in the order of the rules; `cap` in bytes, `record` the losses (nats per token) to beat."""
    probed = probe(found)
    claim = probed.claim
    return [
        *file_findings(found, profile),
        *size_findings(found, cap=cap, profile=profile),
        *card_findings(found, profile),
        *metric_findings(found, own_ratio=None if claim is None else claim.tokens / claim.bytes),
        *seed_findings(found, record=record, profile=profile),
        *clock_findings(found, profile),
        *code_findings(found, profile),
        *probed.findings,
    ]
