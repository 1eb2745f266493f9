"""Rules on sizes: bytes of the submission against the cap, and against the sizes that it states."""

from __future__ import annotations

from collections.abc import Iterator

from golf.contest.bundle import SCRIPT
from golf.contest.rules.findings import Finding, Profile, unknown, verdict
from golf.contest.rules.folder import Submission
from golf.contest.rules.numbers import count

# 16 MiB, with which several entries confused 16 MB.
_BINARY = 16 << 20


def size_findings(found: Submission, *, cap: int, profile: Profile) -> Iterator[Finding]:
    """size.cap, size.card and size.log."""
    code = sum(found.code.values()) if profile == "strict" else found.files.get(SCRIPT, 0)
    model = sum(found.models.values()) + (sum(found.others.values()) if profile == "strict" else 0)
    if found.models:
        yield _held(code + model, cap, f"{code:,} bytes of code + {model:,} of model", _left(found))
    elif (stated := _stated_total(found, code)) is not None:
        total, where = stated
        yield _held(max(total, code + model), cap, f"no model is shipped; {where}", _left(found))
    else:
        yield unknown("size.cap", "no model is shipped, and neither submission.json nor a log states a size")
    yield _card(found, code, profile)
    yield _log(found)


def _held(total: int, cap: int, what: str, left: str) -> Finding:
    over = total - cap
    where = f"{over:,} over {cap:,}" if over > 0 else f"{-over:,} under {cap:,}"
    binary = "; it is within 16 MiB, which is not the cap" if cap < total <= _BINARY else ""
    return verdict("size.cap", over <= 0, f"{what} = {total:,}, {where}{binary}{left}")


def _left(found: Submission) -> str:
    names = ", ".join(f"{name} ({size:,} bytes)" for name, size in found.left.items())
    return f"; not counted: {names}" if names else ""


def _stated_total(found: Submission, code: int) -> tuple[int, str] | None:
    """The largest total size that submission.json or a log states, and its source."""
    card = found.card or {}
    stated = [(value, "bytes_total in submission.json") for value in [count(card.get("bytes_total"))] if value]
    stated += [(facts.total_bytes, name) for name, facts in found.logs.items() if facts.total_bytes]
    if (model := count(card.get("bytes_model"))) is not None:
        stated.append((model + code, "bytes_model in submission.json and the code"))
    return max(stated, default=None)


def _card(found: Submission, code: int, profile: Profile) -> Finding:
    """size.card: bytes that submission.json states against those of the files."""
    card, model = found.card or {}, sum(found.models.values())
    actual = {"bytes_code": code} | ({"bytes_model": model, "bytes_total": code + model} if model else {})
    stated = {key: value for key in actual if (value := count(card.get(key))) is not None}
    absent = count(card.get("bytes_model"))
    if profile == "strict" and absent is not None and not model:
        return verdict("size.card", False, f"bytes_model is {absent:,}, and no model is shipped")
    if not stated:
        return unknown("size.card", "submission.json states no bytes that files could be held against")
    wrong = [
        f"{key} is {value:,}, the files have {actual[key]:,}" for key, value in stated.items() if value != actual[key]
    ]
    return verdict("size.card", not wrong, "; ".join(wrong) or "the bytes in submission.json are those of the files")


def _log(found: Submission) -> Finding:
    """size.log: the submission's size in logs against that in submission.json, for their seed or for all."""
    card = found.card or {}
    results, code = card.get("seed_results"), count(card.get("bytes_code")) or 0
    logged = {name: facts for name, facts in found.logs.items() if facts.total_bytes is not None}
    wrong, held = [], 0
    for name, facts in logged.items():
        entry = results.get(str(facts.seed)) if isinstance(results, dict) else None
        artifact = count(entry.get("artifact_bytes")) if isinstance(entry, dict) else None
        # artifact_bytes is written with the code and without
        allowed = {count(card.get("bytes_total"))} if artifact is None else {artifact, artifact + code}
        allowed.discard(None)
        held += bool(allowed)
        if allowed and facts.total_bytes not in allowed:
            said = " or ".join(f"{value:,}" for value in sorted(value for value in allowed if value))
            wrong.append(f"{name} says {facts.total_bytes:,} bytes, submission.json {said}")
    if not held:
        return unknown("size.log", "no log states a total submission size that submission.json states too")
    return verdict("size.log", not wrong, "; ".join(wrong) or f"logs that agree with submission.json: {held}")
