"""The second flow: checkpoint → sensitivity → one global step → symbols → sections → artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from golf.artifact import BudgetEntry, assemble, open_artifact
from golf.artifact.ledger import artifact_ledger
from golf.compress.encode_matrix import Prepared, distortion
from golf.compress.low_rank import LowRank
from golf.compress.matrix_sections import TABLES
from golf.compress.rate_distortion import ideal_bits, limit_bits
from golf.compress.rate_search import Solution
from golf.errors import CapError
from golf.evaluation.loss import Score
from golf.evaluation.rebuild import rebuild
from golf.packing.encoder import Draft, Packed, make_claim
from golf.packing.inputs import Source, load_source
from golf.packing.results import ClockLedger, FactorsEntry, PackResult, RateLedger
from golf.packing.search import Fit, fit, refit
from golf.packing.timing import calibration_tokens, on_the_clock
from golf.recipe import Recipe, change_recipe
from golf.run.folder import Run
from golf.runtime import durable
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

# The claim is measured after the size is solved. Its digits may compress some bytes worse than the placeholder's: try
# with hardly any room for that, and again with more.
_CLAIM_SLACKS = (8, 24, 64)


def pack(
    run: Run,
    *,
    cap: int | None,
    code_bytes: int | Callable[[Recipe], int] | None,
    out: Path,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    settings: Iterable[str] = (),
    observer: Observer = Observer(),
) -> PackResult:
    """Write the best artifact of `run`'s newest checkpoint whose size + code stays within `cap` bytes to `out`.

    Where budget.clock is "calibration" and the training left too little time, calibration and tuning read less text.
    `cap` and `code_bytes` default to the recipe's, over which `settings` (section.key=value) are laid; code that ships
    the recipe is a function of it. Raises CapError, with the smallest reachable size, when the cap is out of reach, and
    UsageError where the clock leaves no time at all; then and on every other failure a file at `out` stays as it was.
    """
    clock = Stages()
    given = {"cap": cap, "code_bytes": None if callable(code_bytes) else code_bytes}
    source = load_source(run, cache=cache, device=device, stop=stop, observer=observer, budget=given, settings=settings)
    if callable(code_bytes):
        source = _with_code(source, code_bytes)
    source = on_the_clock(source)
    clock.done("load")
    prepared = source.prepared(calibration_tokens(source))
    clock.done("calibrate")
    float_score = source.score(source.model)
    clock.done("measure float")
    budget = source.recipe.budget
    draft = make_draft(source, prepared, float_score)
    fitted = fit(draft, source, room=budget.cap - budget.code_bytes - _CLAIM_SLACKS[0])
    clock.done("solve and tune")
    solution, score = _publish_within_cap(fitted, source, float_score, out)
    clock.done("measure packed")
    return _result(fitted, solution, source, out=out, score=score, float_score=float_score, clock=clock)


def _result(
    fitted: Fit,
    solution: Solution[Packed],
    source: Source,
    *,
    out: Path,
    score: Score,
    float_score: Score,
    clock: Stages,
) -> PackResult:
    """What was packed, in figures; its factors are weighed by packing without them."""
    ledger, budget, weights = artifact_ledger(open_artifact(out)), source.recipe.budget, fitted.draft.weights
    coded = zip(fitted.draft.prepared, solution.packed.coded, strict=True)
    predicted = sum(distortion(matrix, symbols, solution.scale) for matrix, symbols in coded)
    factors = _factors(fitted.draft, solution)
    clock.done("weigh factors")
    return PackResult(
        artifact=out,
        cap=budget.cap,
        code_bytes=budget.code_bytes,
        size=ledger.total,
        binding=solution.binding,
        bits_per_weight=8 * (sum(m.bytes for m in ledger.matrices) + ledger.parts.get(TABLES, 0)) / weights,
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        loss=score.loss,
        bpb=score.bpb,
        predicted_gap=predicted,
        training_gap=fitted.gap,
        rounded_training_gap=fitted.rounded_gap,
        factors=factors,
        rate=_rate_ledger(fitted.draft, solution, fitted.gap if fitted.tuned else predicted),
        probes=solution.probes,
        seconds=clock.seconds,
        clock=_clock_ledger(source, clock.seconds),
        ledger=ledger,
    )


def _clock_ledger(source: Source, stages: dict[str, float]) -> ClockLedger:
    """The run's seconds by what they went to, from those of the pack's stages; a note where they are too many."""
    limit, clock = source.recipe.train.max_seconds, source.recipe.budget.clock
    spent = {use: round(seconds, 3) for use, seconds in source.allowance.spent.items()}
    evaluation = sum(seconds for stage, seconds in stages.items() if stage.startswith("measure"))
    training = None if source.trained is None else round(source.trained, 3)
    reading = sum(spent.values()) if clock == "calibration" else 0.0
    counted = None if training is None else round(training + reading, 3)
    within = None if counted is None or limit is None else counted <= limit
    if within is False and reading:
        source.observer.note(
            f"training text was read for {counted:.1f} s, more than train.max_seconds = {limit:g}: this machine was "
            "slower than it promised; pack again when it is idle"
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


def _with_code(source: Source, code_bytes: Callable[[Recipe], int]) -> Source:
    """The source with the bytes of the code that ships its recipe counted into its budget."""
    counted = f"budget.code_bytes={code_bytes(source.recipe)}"
    recipe = change_recipe(source.recipe, [counted], sections=("budget",), source="golf pack --code-bytes auto")
    return replace(source, recipe=recipe)


def make_draft(source: Source, prepared: list[Prepared], float_score: Score) -> Draft:
    """The pack to be solved for, with the float model's score in the claim's place."""

    def step(name: str, share: float) -> None:
        source.check()
        source.observer.stage(f"pack {name}", share)

    budget = source.recipe.budget
    return Draft(
        recipe=source.recipe,
        model=source.model,
        tokenizer=source.data.tokenizer,
        prepared=prepared,
        budget=BudgetEntry(cap=budget.cap, code_bytes=budget.code_bytes),
        claim=make_claim(
            source.recipe,
            float_score,
            float_score,
            text=source.scored_text(float_score),
            device=source.device.type,
        ),
        step=step,
        check=source.check,
    )


def measured(packed: Packed, source: Source, out: Path) -> Score:
    """Score of a pack as re-read from disk: from a file beside `out` that is gone afterwards."""
    unmeasured = durable.temporary_beside(out)
    try:
        durable.write_bytes(unmeasured, assemble(replace(packed.manifest, claim=None), packed.payloads))
        return source.score(rebuild(open_artifact(unmeasured), poll=source.check).model.to(source.device))
    finally:
        unmeasured.unlink(missing_ok=True)


def _publish_within_cap(fitted: Fit, source: Source, float_score: Score, out: Path) -> tuple[Solution[Packed], Score]:
    """Measure the pack as written, and write it again with that as its claim; once more where that is over the cap."""
    draft, solution = fitted.draft, fitted.solution
    budget = draft.budget
    for slack in (*_CLAIM_SLACKS[1:], None):
        score = measured(solution.packed, source, out)
        text = source.scored_text(score)
        claim = make_claim(source.recipe, score, float_score, text=text, device=source.device.type)
        content = assemble(replace(solution.packed.manifest, claim=claim), solution.packed.payloads)
        if len(content) + budget.code_bytes <= budget.cap:
            durable.write_bytes(out, content)
            return solution, score
        if slack is not None:
            solution = refit(draft, room=budget.cap - budget.code_bytes - slack, scale=solution.scale)
    raise CapError(f"the claim takes more than {_CLAIM_SLACKS[-1]} bytes over its estimate; lower --cap by some bytes")


def _factors(draft: Draft, solution: Solution[Packed]) -> list[FactorsEntry]:
    """What each matrix's factors hold and cost, and what packing it without them at the same step would cost."""
    if not any(matrix.factors.rank for matrix in solution.packed.coded):
        return []
    plain = replace(draft, prepared=[replace(p, tuned=None) for p in draft.prepared])
    bytes_with, bytes_without = (_matrix_bytes(plain, solution.scale, rank) for rank in ("auto", "off"))
    entries = []
    for prepared, coded in zip(draft.prepared, solution.packed.coded, strict=True):
        if coded.factors.rank and prepared.spectrum is not None:
            entries.append(
                FactorsEntry(
                    name=coded.name,
                    rank=coded.factors.rank,
                    energy=prepared.spectrum.energy(coded.factors.rank),
                    saved=bytes_without[coded.name] - bytes_with[coded.name],
                )
            )
    return entries


def _rate_ledger(draft: Draft, solution: Solution[Packed], gap: float) -> RateLedger:
    """Bits per weight up to the rate-distortion limit at a loss of `gap`, and what lies above it."""
    names = {matrix.name for matrix in solution.packed.coded}
    sizes = {"residual": 0, TABLES: 0, "side": 0}
    for payload in solution.packed.payloads:
        owner, _, part = payload.name.partition("/")
        if owner == TABLES or owner in names:
            kind = owner if owner == TABLES else part if part in sizes else "side"
            sizes[kind] += 8 * len(payload.content)
    weights, ideal = draft.weights, ideal_bits(solution.packed.coded)
    limit = limit_bits(draft.prepared, gap) if gap > 0 else None
    return RateLedger(
        ideal=ideal / weights,
        limit=None if limit is None else limit / weights,
        shaping=None if limit is None else (ideal - limit) / weights,
        coder=(sizes["residual"] + sizes[TABLES] - ideal) / weights,
        side=sizes["side"] / weights,
    )


def _matrix_bytes(draft: Draft, scale: float, low_rank: LowRank) -> dict[str, int]:
    """Bytes of every matrix's sections at a step, rounded without tuning."""
    section = draft.recipe.pack.model_copy(update={"low_rank": low_rank})
    _, packed = replace(draft, recipe=draft.recipe.model_copy(update={"pack": section})).build(scale)
    sizes: dict[str, int] = {}
    for payload in packed.payloads:
        owner, slash, _ = payload.name.partition("/")
        if slash:
            sizes[owner] = sizes.get(owner, 0) + len(payload.content)
    return sizes


class Stages:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        """Start the clock."""
        self._since = time.monotonic()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        """The stage `name` has ended."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 3)
        self._since = now
