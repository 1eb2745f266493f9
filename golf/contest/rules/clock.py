"""Rules on time: training, with every use of training text, and evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from golf.contest.rules.findings import Finding, Profile, unknown, verdict
from golf.contest.rules.folder import Submission
from golf.contest.rules.numbers import number

SECONDS = 600.0
# Steps by which merged records ran over the time, at most 1.6: the loop asks the clock before a step, and the time of a
# step is a mean.
_STEPS_OVER = 2
# Words of submission.json's track whose entries may train for as long as they like.
_UNLIMITED = ("unlimited", "non-record", "non_record", "notable")
# Stages that read training text, by their names in logs: golf's clock has calibration, tuning and looks, earlier
# releases' logs calibrate and solve_and_tune. Judges counted what the script's own clock covered; the rule counts these
# too.
_USES_DATA = ("calibration", "tuning", "looks", "calibrate", "solve_and_tune", "hessian", "gptq")
_EVALUATION = ("eval", "evaluation", "final_eval", "ttt")


def clock_findings(found: Submission, profile: Profile) -> Iterator[Finding]:
    """clock.training and clock.evaluation, from the logs, and from submission.json for the latter.

    As judged, steps that were running when the time was up may end, and logs of no seed may be of other runs.
    """
    if any(word in str((found.card or {}).get("track", "")).lower() for word in _UNLIMITED):
        yield unknown("clock.training", "its track has no limit of time")
        yield _evaluation(found)
        return
    times = {name: facts for name, facts in found.logs.items() if facts.train_seconds is not None}
    if times:
        worst = 0.0
        wrong: list[str] = []
        other: list[str] = []
        for name, facts in times.items():
            uses = {k: v for k, v in facts.stages.items() if k in _USES_DATA} if profile == "strict" else {}
            seconds = (facts.train_seconds or 0.0) + sum(uses.values())
            worst = max(worst, seconds)
            if seconds > SECONDS + _STEPS_OVER * (facts.step_seconds or 0.0) * (profile == "as-judged"):
                also = f" with {', '.join(uses)}" if uses else ""
                (wrong if profile == "strict" or "seed" in name.lower() else other).append(
                    f"{name}: {seconds:.2f} s{also}"
                )
        if other and not wrong and len(other) < len(times):
            yield unknown("clock.training", f"over the time, and of no seed by their names: {'; '.join(other)}")
            yield _evaluation(found)
            return
        wrong += other
        yield verdict("clock.training", not wrong, "; ".join(wrong) or f"at most {worst:.1f} s of {SECONDS:.0f}")
    else:
        yield unknown("clock.training", "no log has a train_time")
    yield _evaluation(found)


def _evaluation(found: Submission) -> Finding:
    seconds = [facts.stages[stage] for facts in found.logs.values() for stage in _EVALUATION if stage in facts.stages]
    results = (found.card or {}).get("seed_results")
    entries = list(results.values()) if isinstance(results, dict) else []
    stated = (number(entry.get("eval_time_s")) for entry in entries if isinstance(entry, dict))
    seconds += [value for value in stated if value is not None]
    if not seconds:
        return unknown("clock.evaluation", "neither a log nor submission.json has an evaluation's time")
    return verdict("clock.evaluation", max(seconds) <= SECONDS, f"at most {max(seconds):.1f} s of {SECONDS:.0f}")
