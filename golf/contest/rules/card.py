"""Rules on required files, and on submission.json: its keys, and its numbers against the logs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from golf.contest.bundle import SCRIPT
from golf.contest.rules.findings import Finding, Profile, unknown, verdict
from golf.contest.rules.folder import CARD, README, Submission
from golf.contest.rules.numbers import count, number

_TEXT, _NUMBER, _COUNT = "a text", "a finite number above 0", "a whole number above 0"
# What the contest's README asks for by name: "your name, GitHub ID, val_bpb, and related metadata".
_ASKED = {"github_id": _TEXT, "name": _TEXT, "val_bpb": _NUMBER}
# The related metadata of its example; merged entries lack one or several of them.
_RELATED = {
    "author": _TEXT,
    "date": _TEXT,
    "blurb": _TEXT,
    "track": _TEXT,
    "hardware": _TEXT,
    "val_loss": _NUMBER,
    "bytes_total": _COUNT,
    "bytes_code": _COUNT,
    "bytes_model": _COUNT,
}
# Logs are rounded to four decimals at the worst.
_ROUNDING = 2e-4


def file_findings(found: Submission, profile: Profile) -> Iterator[Finding]:
    """files.present, files.code and files.logs."""
    missing = [name for name in (README, CARD, SCRIPT) if name not in found.files]
    if not found.logs.keys() - found.unreadable:
        missing.append("a train log (.log or .txt)")
    yield verdict("files.present", not missing, f"missing: {', '.join(missing)}" if missing else "all there")
    # files of unknown kind may be code, and a file named as a log may be none
    extra = [name for name in (*found.code, *found.others) if name not in (SCRIPT, *found.logs)]
    if not extra:
        yield verdict("files.code", True, f"{SCRIPT} is the only code")
    elif profile == "strict":
        yield verdict("files.code", False, f"code lives in {SCRIPT} alone; also there: {', '.join(extra[:5])}")
    else:
        yield unknown("files.code", f"also there, and not counted: {', '.join(extra[:5])}")
    yield _logs(found, profile)


def _logs(found: Submission, profile: Profile) -> Finding:
    """files.logs: whether files named as logs are logs; under strict rules, bytes of others count as the model's."""
    said = [f"{name} {reason}" for name, reason in found.unreadable.items()]
    silent = [name for name, facts in found.logs.items() if not facts.known and name not in found.unreadable]
    counted = "; counted as model" if profile == "strict" else ""
    if said and profile == "strict":
        return verdict("files.logs", False, f"{'; '.join(said[:4])}{counted}")
    if said or silent:
        said += [f"{name} says nothing of a training" for name in silent]
        return unknown("files.logs", f"{'; '.join(said[:4])}{counted}")
    if not found.logs:
        return unknown("files.logs", "there is no log")
    return verdict("files.logs", True, f"logs, each of a training: {len(found.logs)}")


def card_findings(found: Submission, profile: Profile) -> Iterator[Finding]:
    """card.schema and card.log."""
    if found.card is None:
        yield verdict("card.schema", False, found.card_error or "")
        yield unknown("card.log", found.card_error or "")
        return
    yield _schema(found.card, profile)
    yield _card_log(found, found.card, profile)


def _schema(card: dict[str, Any], profile: Profile) -> Finding:
    """card.schema: keys that are asked for, and the kinds of all that are there.

    Four merged entries lack a key that is asked for, so that as judged this is no offence.
    """
    bad = {key: kind for key, kind in (_ASKED | _RELATED).items() if not _is(card.get(key), kind)}
    absent = [key for key in bad if card.get(key) is None]
    wrong = [_complaint(key, kind, card[key]) for key, kind in bad.items() if key not in absent]
    lacking = [key for key in absent if key in _ASKED]
    if profile == "strict":
        wrong += [f"{key} is missing" for key in lacking]
    said = f"; not there: {', '.join(absent)}" if absent else ""
    if wrong:
        return verdict("card.schema", False, "; ".join(wrong))
    if lacking:
        return unknown("card.schema", f"{', '.join(lacking)} asked for, and not there")
    return verdict("card.schema", True, f"all that is asked for is there and of its kind{said}")


def _complaint(key: str, kind: str, value: Any) -> str:
    return f"{key} is empty" if value == "" else f"{key} must be {kind}"


def _is(value: Any, kind: str) -> bool:
    if kind == _TEXT:
        return isinstance(value, str) and bool(value.strip())
    return count(value) is not None if kind == _COUNT else (number(value) or 0) > 0


def _card_log(found: Submission, card: dict[str, Any], profile: Profile) -> Finding:
    """Losses of submission.json against those in the logs, seed by seed and in the mean.

    Judges took a val_bpb that is not the logs' mean: the best seed's, or that of an evaluation which no line of a known
    spelling states; and logs of reruns beside those that count.
    """
    logs = {name: facts for name, facts in found.logs.items() if facts.val_bpb is not None}
    if not logs:
        return unknown("card.log", "no log ends with a val_bpb")
    results = card.get("seed_results")
    wrong = []
    for name, facts in logs.items():
        entry = results.get(str(facts.seed)) if isinstance(results, dict) else None
        for key, logged in (("val_loss", facts.val_loss), ("val_bpb", facts.val_bpb)):
            stated = number(entry.get(key)) if isinstance(entry, dict) else None
            if logged is not None and not math.isfinite(logged):
                wrong.append(f"{name} ends with {key} {logged}")
            elif logged is not None and stated is not None and abs(stated - logged) > _ROUNDING:
                wrong.append(f"{name} ends with {key} {logged}, seed {facts.seed} of submission.json has {stated}")
    values = [facts.val_bpb for facts in logs.values() if facts.val_bpb is not None and math.isfinite(facts.val_bpb)]
    stated = number(card.get("val_bpb"))
    if values and stated is not None and abs(stated - statistics.fmean(values)) > _ROUNDING:
        hint = ", the best seed's" if abs(stated - min(values)) <= _ROUNDING else ""
        other = f"val_bpb is {stated}{hint}; its mean over logs ({len(values)}) is {statistics.fmean(values):.6f}"
        wrong.append(other)
    if wrong and values and profile == "as-judged":
        return unknown("card.log", "; ".join(wrong))
    return verdict("card.log", not wrong, "; ".join(wrong) or f"logs that agree with submission.json: {len(logs)}")
