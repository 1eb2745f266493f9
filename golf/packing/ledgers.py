"""Compute a PackResult: bytes, bits and seconds of a pack by use, and the bytes that low-rank factors save."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from golf.artifact import open_artifact
from golf.artifact.ledger import artifact_ledger
from golf.compress.encode_matrix import distortion
from golf.compress.low_rank import LowRank
from golf.compress.matrix_sections import SCALES, TABLES
from golf.compress.rate_distortion import ideal_bits, limit_bits
from golf.compress.rate_search import Solution
from golf.evaluation.loss import Score
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.inputs import PackInputs
from golf.packing.results import CandidateEntry, ClockLedger, FactorsEntry, PackResult, RateLedger
from golf.packing.search import Choice
from golf.packing.time_budget import TimeBudget
from golf.runtime.observer import Observer


@dataclass(frozen=True)
class Written:
    """An artifact at `path`: its Solution, its score as re-read from disk, and the float model's score."""

    path: Path
    solution: Solution[EncodedModel]
    score: Score
    float_score: Score


def pack_result(
    inputs: PackInputs,
    choice: Choice,
    written: Written,
    *,
    factors: list[FactorsEntry],
    clock: ClockLedger,
    seconds: dict[str, float],
) -> PackResult:
    """The PackResult of a written artifact."""
    ledger, budget = artifact_ledger(open_artifact(written.path)), inputs.recipe.budget
    kept, solution = choice.kept, written.solution
    predicted = predicted_gap(kept.encoder, solution)
    matrix_bytes = sum(m.bytes for m in ledger.matrices) + ledger.parts.get(TABLES, 0) + ledger.parts.get(SCALES, 0)
    return PackResult(
        artifact=written.path,
        cap=budget.cap,
        code_bytes=budget.code_bytes,
        size=ledger.total,
        binding=kept.solution.binding,
        bits_per_weight=8 * matrix_bytes / kept.encoder.weights,
        float_loss=written.float_score.loss,
        float_bpb=written.float_score.bpb,
        loss=written.score.loss,
        bpb=written.score.bpb,
        predicted_gap=predicted,
        training_gap=kept.gap,
        rounded_training_gap=choice.rounded_gap,
        candidates=candidate_entries(choice),
        factors=factors,
        rate=rate_ledger(kept.encoder, solution, kept.gap if kept.method.fine_tune else predicted),
        probes=sum(each.solution.probes for each in choice.tried),
        seconds=seconds,
        clock=clock,
        ledger=ledger,
    )


def predicted_gap(encoder: ModelEncoder, solution: Solution[EncodedModel]) -> float:
    """Predicted loss increase, nats per token, under the Fisher information that the steps were made from."""
    pairs = zip(encoder.matrices, solution.built.matrices, strict=True)
    return sum(distortion(matrix, symbols, solution.scale) for matrix, symbols in pairs)


def candidate_entries(choice: Choice) -> list[CandidateEntry]:
    """Candidates that were tried with their results, and methods that were not with their reasons."""
    tried = [
        CandidateEntry(
            method=each.method.name,
            fine_tuned=each.method.fine_tune,
            kept=each is choice.kept,
            size=each.solution.size,
            training_gap=each.gap,
            seconds=round(each.seconds, 3),
        )
        for each in choice.tried
    ]
    skipped = choice.skipped.items()
    return tried + [CandidateEntry(method.name, method.fine_tune, reason=reason) for method, reason in skipped]


def rate_ledger(encoder: ModelEncoder, solution: Solution[EncodedModel], gap: float) -> RateLedger:
    """Bits per weight by part, against the rate-distortion limit at a loss increase of `gap` nats per token."""
    names = {matrix.name for matrix in solution.built.matrices}
    sizes = {"residual": 0, TABLES: 0, "side": 0}
    for payload in solution.built.payloads:
        owner, _, part = payload.name.partition("/")
        if owner in (TABLES, SCALES) or owner in names:
            kind = owner if owner == TABLES else part if part in sizes else "side"
            sizes[kind] += 8 * len(payload.content)
    weights, ideal = encoder.weights, ideal_bits(solution.built.matrices)
    limit = limit_bits(encoder.matrices, gap) if gap > 0 else None
    return RateLedger(
        ideal=ideal / weights,
        limit=None if limit is None else limit / weights,
        shaping=None if limit is None else (ideal - limit) / weights,
        coder=(sizes["residual"] + sizes[TABLES] - ideal) / weights,
        side=sizes["side"] / weights,
    )


def clock_ledger(
    inputs: PackInputs, time_budget: TimeBudget, stages: dict[str, float], observer: Observer
) -> ClockLedger:
    """The run's seconds by use, from `stages`, the seconds of the pack; notes it where they exceed max_seconds."""
    limit, clock = inputs.recipe.train.max_seconds, inputs.recipe.budget.clock
    spent = {use: round(seconds, 3) for use, seconds in time_budget.spent.items()}
    evaluation = sum(seconds for stage, seconds in stages.items() if stage.startswith("measure"))
    training = None if inputs.training_seconds is None else round(inputs.training_seconds, 3)
    reading = sum(spent.values()) if clock == "calibration" else 0.0
    counted = None if training is None else round(training + reading, 3)
    within = None if counted is None or limit is None else counted <= limit
    if within is False and reading:
        observer.note(
            f"training text was read for {counted:.1f} s, more than train.max_seconds = {limit:g}: this machine was "
            "slower than its trial; pack again when it is idle"
        )
    return ClockLedger(
        training=training,
        **spent,
        packing=round(sum(stages.values()) - sum(spent.values()) - evaluation, 3),
        evaluation=round(evaluation, 3),
        clock=clock,
        counted=counted,
        max_seconds=limit,
        within=within,
    )


def factor_entries(encoder: ModelEncoder, solution: Solution[EncodedModel]) -> list[FactorsEntry]:
    """Rank and energy of each matrix's factors, and the bytes that they save at the same step."""
    if not any(solution.built.ranks):
        return []
    plain = replace(encoder, matrices=[replace(p, tuned=None) for p in encoder.matrices])
    without: LowRank = "off"
    bytes_with, bytes_without = (
        replace(plain, low_rank=rank).build(solution.scale)[1].matrix_bytes for rank in (encoder.low_rank, without)
    )
    entries = []
    for calibrated, quantized in zip(encoder.matrices, solution.built.matrices, strict=True):
        if quantized.factors.rank:
            entries.append(
                FactorsEntry(
                    name=quantized.name,
                    rank=quantized.factors.rank,
                    energy=calibrated.spectrum().energy(quantized.factors.rank),
                    saved=bytes_without[quantized.name] - bytes_with[quantized.name],
                )
            )
    return entries
