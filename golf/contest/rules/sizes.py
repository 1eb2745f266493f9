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
    elif (stated := _stated_total(found, code, profile)) is not None:
        total, where = stated
        yield _held(max(total, code + model), cap, f"no model is shipped; {where}", _left(found))
    else:
        yield unknown("size.cap", "no model is shipped, and neither submission.json nor a log states a size")
    yield _card(found, code, profile)
    yield _log(found, cap, profile)


def _held(total: int, cap: int, what: str, left: str) -> Finding:
    over = total - cap
    where = f"{over:,} over {cap:,}" if over > 0 else f"{-over:,} under {cap:,}"
    binary = "; it is within 16 MiB, which is not the cap" if cap < total <= _BINARY else ""
    return verdict("size.cap", over <= 0, f"{what} = {total:,}, {where}{binary}{left}")


def _left(found: Submission) -> str:
    names = ", ".join(f"{name} ({size:,} bytes)" for name, size in found.left.items())
    return f"; not counted: {names}" if names else ""


def _stated_total(found: Submission, code: int, profile: Profile) -> tuple[int, str] | None:
    """The largest total size that submission.json or a log states, and its source.

    By the written rule the code counts as it is shipped: nine merged records stated it compressed. Judges took the
    total of submission.json where it has one.
    """
    card = found.card or {}
    total, compressed = count(card.get("bytes_total")), count(card.get("bytes_code"))
    stated = [] if total is None else [(total, "bytes_total in submission.json")]
    if stated and profile == "as-judged":
        return stated[0]
    if total is not None and compressed is not None and compressed < code:
        stated.append((total - compressed + code, "bytes_total in submission.json, with the code as it is shipped"))
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
    if wrong and profile == "as-judged":  # five merged records state bytes of an earlier script
        return unknown("size.card", "; ".join(wrong))
    return verdict("size.card", not wrong, "; ".join(wrong) or "the bytes in submission.json are those of the files")


def _log(found: Submission, cap: int, profile: Profile) -> Finding:
    """size.log: the submission's size in logs against that in submission.json, and against the cap.

    Where submission.json has a size for the log's seed, it is that one; its one bytes_total is of one seed, and seeds
    of merged entries differ by up to 130 kB, so that another size in a log is no contradiction. Judges took logs of
    reruns beside those that count.
    """
    card = found.card or {}
    results, code, total = card.get("seed_results"), count(card.get("bytes_code")) or 0, count(card.get("bytes_total"))
    logged = {name: facts for name, facts in found.logs.items() if facts.total_bytes is not None}
    wrong, held, others = [], 0, []
    for name, facts in logged.items():
        said = facts.total_bytes or 0
        entry = results.get(str(facts.seed)) if isinstance(results, dict) else None
        artifact = count(entry.get("artifact_bytes")) if isinstance(entry, dict) else None
        # artifact_bytes is written with the code and without
        if artifact is not None and said not in (artifact, artifact + code):
            wrong.append(f"{name} says {said:,} bytes, submission.json {artifact:,} or {artifact + code:,}")
        elif said > cap:
            wrong.append(f"{name} says {said:,} bytes, {said - cap:,} over {cap:,}")
        elif artifact is not None or said == total:
            held += 1
        elif total is not None:
            others.append(f"{name} {said:,}")
    if wrong and profile == "as-judged":
        return unknown("size.log", "; ".join(wrong))
    if wrong:
        return verdict("size.log", False, "; ".join(wrong))
    if held:
        return verdict("size.log", True, f"logs that agree with submission.json: {held}")
    if others:
        return unknown("size.log", f"submission.json has {total:,} bytes, no log does: {', '.join(others[:3])}")
    return unknown("size.log", "no log states a total submission size that submission.json states too")
