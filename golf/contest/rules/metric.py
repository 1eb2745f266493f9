"""Rules on bits per byte: its denominator, the seeds, and the significance of a gain over a record."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from golf.contest.rules.findings import Finding, Profile, unknown, verdict
from golf.contest.rules.folder import Submission
from golf.contest.rules.numbers import number
from golf.contest.rules.statistics import welch_one_sided

# Tokens per byte of the contest's validation split by tokenizer: tokens scored over 151.08 million bytes.
_BYTES = 151_080_000
TOKENS_PER_BYTE = {
    "sp1024": 62_021_632 / _BYTES,
    "sp4096": 45_508_608 / _BYTES,
    "sp8192": 40_540_160 / _BYTES,
    "byte260": 151_130_112 / _BYTES,
}
# Windows and partial splits change the ratio by less; the wrong denominators that occurred by more.
_TOLERANCE = 0.004
# Wrong denominators that occurred in submissions, as the factor by which bytes were overcounted.
_MISTAKES = {
    1.167: "leading spaces counted twice",
    1.041: "byte tokens counted as 3 bytes",
    1.09: "transformed text's bytes",
}
# A record needs this many nats, with this much certainty, on about this many seeds.
GAIN, CERTAINTY, SEEDS = 0.005, 0.01, 3


def metric_findings(found: Submission, *, own_ratio: float | None) -> Iterator[Finding]:
    """metric.denominator: tokens per byte as val_loss and val_bpb imply them; `own_ratio` is the artifact's claim's."""
    pairs: list[tuple[object, object]] = [(facts.val_loss, facts.val_bpb) for facts in found.logs.values()]
    card = found.card or {}
    pairs.append((card.get("val_loss"), card.get("val_bpb")))
    known = ((number(loss), number(bpb)) for loss, bpb in pairs)
    ratios = [bpb * math.log(2) / loss for loss, bpb in known if loss and bpb and loss > 0 and bpb > 0]
    if not ratios:
        yield unknown("metric.denominator", "val_loss and val_bpb do not stand together anywhere")
        return
    low, high = min(ratios), max(ratios)
    if high / low > 1 + _TOLERANCE:
        yield verdict("metric.denominator", False, f"tokens per byte differ between results: {low:.4f} to {high:.4f}")
        return
    yield _ratio(statistics.fmean(ratios), own_ratio)


def _ratio(ratio: float, own: float | None) -> Finding:
    known = TOKENS_PER_BYTE if own is None else {"the artifact's own text": own}
    for name, value in known.items():
        if abs(ratio / value - 1) <= _TOLERANCE:
            return verdict("metric.denominator", True, f"{ratio:.4f} tokens per byte, as {name} has")
    for factor, mistake in _MISTAKES.items():
        for name, value in known.items():
            if abs(ratio * factor / value - 1) <= _TOLERANCE:
                return verdict(
                    "metric.denominator", False, f"{ratio:.4f} tokens per byte is {name}'s with {mistake} (x {factor})"
                )
    if own is not None:
        return verdict("metric.denominator", False, f"{ratio:.4f} tokens per byte; the artifact claims {own:.4f}")
    return unknown("metric.denominator", f"{ratio:.4f} tokens per byte is that of no tokenizer of the contest")


def seed_findings(found: Submission, *, record: list[float] | None, profile: Profile) -> Iterator[Finding]:
    """seeds.count and seeds.record; `record` are the losses (nats) of the seeds to beat."""
    losses = seed_losses(found)
    enough = SEEDS if profile == "strict" else 1
    yield verdict("seeds.count", len(losses) >= enough, f"seeds with a loss: {len(losses)}; needed: {enough}")
    if record is None:
        yield unknown("seeds.record", "name the losses to beat with --record")
    elif len(losses) < 2:
        yield unknown("seeds.record", "a test needs two seeds at least")
    else:
        gain = statistics.fmean(record) - statistics.fmean(losses)
        p = welch_one_sided(losses, record, margin=GAIN)
        text = f"{gain:+.4f} nats better than the record; p {p:.4f} that it is less than {GAIN}"
        yield verdict("seeds.record", gain >= GAIN and p < CERTAINTY, text)


def seed_losses(found: Submission) -> list[float]:
    """One finite loss per seed: from the logs, else from submission.json.

    Logs that name no seed count as one, and equal losses as one seed's: a log is easily copied.
    """
    logged = {facts.seed: loss for facts in found.logs.values() if (loss := number(facts.val_loss)) is not None}
    losses = list({round(loss, 8): loss for loss in logged.values()}.values())
    results = (found.card or {}).get("seed_results")
    said = any(facts.val_loss is not None for facts in found.logs.values())
    if not said and isinstance(results, dict):
        stated = (number(entry.get("val_loss")) for entry in results.values() if isinstance(entry, dict))
        losses = [loss for loss in stated if loss is not None]
    return losses
