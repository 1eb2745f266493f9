"""Bytes: of what is shipped against the cap, and against what is said of them."""

from __future__ import annotations

from collections.abc import Iterator

from golf.rules.findings import Finding, Profile, unknown, verdict
from golf.rules.folder import SCRIPT, Submission

# 16 MiB: what several entries took 16 MB for.
_BINARY = 16 << 20


def size_findings(found: Submission, *, cap: int, profile: Profile) -> Iterator[Finding]:
    """size.cap, size.card and size.log."""
    code = sum(found.code.values()) if profile == "strict" else found.files.get(SCRIPT, 0)
    model = _model(found, profile)
    if model is None:
        yield unknown("size.cap", "no file looks like a model, and submission.json does not say bytes_model")
    else:
        whole = f"{code:,} bytes of code + {model:,} of model = {code + model:,}"
        over = code + model - cap
        taken = (
            " (within 16 MiB, which is not the cap)"
            if 0 < over and cap == 16_000_000 and code + model <= 1 << 24
            else ""
        )
        yield verdict("size.cap", over <= 0, f"{whole}, {abs(over):,} {'over' if over > 0 else 'under'} {cap:,}{taken}")
    yield from _card(found, code)
    yield from _log(found)


def _model(found: Submission, profile: Profile) -> int | None:
    """Bytes of the shipped models; unknown files count too where rules are strict. Else what the card says."""
    shipped = sum(found.models.values()) + (sum(found.others.values()) if profile == "strict" else 0)
    stated = (found.card or {}).get("bytes_model")
    return shipped or (stated if isinstance(stated, int) else None)


def _card(found: Submission, code: int) -> Iterator[Finding]:
    card = found.card or {}
    actual = {"bytes_code": code, "bytes_model": sum(found.models.values()) or None}
    if all(actual.values()):
        actual["bytes_total"] = sum(value for value in actual.values() if value)
    stated = {key: card[key] for key in actual if isinstance(card.get(key), int)}
    if not stated:
        yield unknown("size.card", "submission.json states no bytes")
        return
    wrong = [
        f"{key} is {value:,}, the files have {size:,}"
        for key, value in stated.items()
        if (size := actual[key]) is not None and size != value
    ]
    yield verdict("size.card", not wrong, "; ".join(wrong) or "the bytes in submission.json are those of the files")


def _log(found: Submission) -> Iterator[Finding]:
    """What logs state as the submission's size, against the artifact_bytes of their seed and the card's code."""
    card = found.card or {}
    results, code = card.get("seed_results"), card.get("bytes_code")
    stated = {name: facts for name, facts in found.logs.items() if facts.total_bytes is not None}
    if not stated:
        yield unknown("size.log", "no log states a total submission size")
        return
    wrong = []
    for name, facts in stated.items():
        entry = results.get(str(facts.seed)) if isinstance(results, dict) else None
        artifact = entry.get("artifact_bytes") if isinstance(entry, dict) else None
        expected = artifact + code if isinstance(artifact, int) and isinstance(code, int) else card.get("bytes_total")
        if isinstance(expected, int) and expected not in (facts.total_bytes, (facts.total_bytes or 0) - (code or 0)):
            wrong.append(f"{name} says {facts.total_bytes:,} bytes, submission.json {expected:,}")
    yield verdict("size.log", not wrong, "; ".join(wrong) or f"{len(stated)} logs agree with submission.json")
