"""What reports and lists know of a run: frozen values, and the reader that takes them from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.artifact import Claim, open_artifact
from golf.artifact.ledger import Ledger, MatrixEntry, artifact_ledger
from golf.errors import UsageError
from golf.packing.results import CandidateEntry, FactorsEntry
from golf.recipe.load import read_limited
from golf.recipe.toml import read_toml
from golf.report.fields import Fields, read_fields
from golf.run.folder import Run, flat, read_metrics

# The keys of metrics.jsonl that are drawn.
CURVES = (
    "train_loss",
    "val_loss",
    "val_bpb",
    "lr",
    "rank_fraction",
    "rate_penalty",
    "predicted_bytes",
    "predicted_wanted_bytes",
)
RANKS = ("stable_rank", "effective_rank")

# Pairs of tokens and value.
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Metrics:
    """The records of a training; without any, everything is empty."""

    curves: dict[str, Curve]
    """By key of CURVES, where it is recorded."""
    ranks: dict[str, dict[str, Curve]]
    """By key of RANKS, then by role."""
    matrices: dict[str, dict[str, float]]
    """By matrix: the figures of the last record that holds some."""
    matrices_step: int
    last_step: int


@dataclass(frozen=True)
class Trained:
    """result.json: a training that came to its end. Losses are in nats per token."""

    steps: int | None
    tokens: int | None
    parameters: int | None
    val_loss: float | None
    val_bpb: float | None
    xz_bpb: float | None
    val_tokens: int | None
    seconds: float | None


@dataclass(frozen=True)
class Packed:
    """ledger.json, its bytes aside; losses and gaps are in nats per token."""

    cap: int | None
    code_bytes: int
    size: int | None
    bits_per_weight: float | None
    float_loss: float | None
    float_bpb: float | None
    loss: float | None
    bpb: float | None
    predicted_gap: float | None
    training_gap: float | None
    rounded_training_gap: float | None
    candidates: list[CandidateEntry]
    factors: list[FactorsEntry]
    rate: dict[str, float]
    """The terms of golf.packing.results.RateLedger, bits per weight."""
    ledger: Ledger

    @property
    def tuned(self) -> bool:
        """Whether the pack that was kept is fine-tuned."""
        return any(each.kept and each.fine_tuned for each in self.candidates)


@dataclass(frozen=True)
class Written:
    """artifact.bin, its structure and digests checked, its weights not decoded."""

    size: int
    weights: int
    golf: str
    cap: int
    code_bytes: int
    claim: Claim | None
    ledger: Ledger


@dataclass(frozen=True)
class RunData:
    """One run; what its folder lacks is None or empty."""

    name: str
    folder: Path
    recipe_text: str | None
    recipe: dict[str, Any]
    """Keys with their section, `train.steps`."""
    metrics: Metrics
    trained: Trained | None
    packed: Packed | None
    written: Written | None

    @property
    def ledger(self) -> Ledger | None:
        """Bytes of the artifact; as ledger.json tells them where the artifact is not here."""
        if self.written is not None:
            return self.written.ledger
        return self.packed.ledger if self.packed is not None else None


def read_run(folder: Path) -> RunData:
    """Everything that a report shows of a run.

    Raises UsageError for a folder that is no run, DamagedFile for a file in it that golf did not write so, and
    RecipeError where recipe.toml is no TOML.
    """
    run = Run(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder of a run; make one with: golf train --out {folder}")
    if not any(path.exists() for path in (run.recipe, run.metrics, run.checkpoint, run.artifact)):
        raise UsageError(f"{folder} holds no run: no recipe.toml, metrics.jsonl, checkpoint or artifact.bin")
    content = read_limited(run.recipe) if run.recipe.exists() else None
    trained, packed = read_fields(run.result), read_fields(run.ledger)
    return RunData(
        name=run.name or str(folder.resolve().name),
        folder=folder,
        recipe_text=None if content is None else content.decode("utf-8-sig", "replace"),
        recipe={} if content is None else flat(read_toml(content, source=str(run.recipe))),
        metrics=_metrics([Fields(each, str(run.metrics)) for each in read_metrics(run.metrics)]),
        trained=None if trained is None else _trained(trained),
        packed=None if packed is None else _packed(packed),
        written=_written(run.artifact) if run.artifact.exists() else None,
    )


def differing_keys(runs: Sequence[RunData]) -> dict[str, list[Any]]:
    """Recipe keys whose values differ, each with one value a run; None where a run has no such key."""
    keys = dict.fromkeys(key for run in runs for key in run.recipe)
    values = {key: [run.recipe.get(key) for run in runs] for key in keys}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def _metrics(records: list[Fields]) -> Metrics:
    curves: dict[str, Curve] = {}
    ranks: dict[str, dict[str, Curve]] = {kind: {} for kind in RANKS}
    matrices: dict[str, dict[str, float]] = {}
    step = matrices_step = 0
    for record in records:
        step = int(record.number("step") or 0)
        if (tokens := record.number("tokens")) is None:
            continue
        for key in CURVES:
            if (number := record.number(key)) is not None:
                curves.setdefault(key, []).append((tokens, number))
        for kind, by_role in ranks.items():
            for role, number in record.numbers(kind).items():
                by_role.setdefault(role, []).append((tokens, number))
        if (found := record.object("matrices")).values:
            matrices, matrices_step = {name: found.numbers(name) for name in found.values}, step
    return Metrics(curves, ranks, matrices, matrices_step, step)


def _trained(found: Fields) -> Trained:
    return Trained(
        steps=found.count("steps"),
        tokens=found.count("tokens"),
        parameters=found.count("parameters"),
        val_loss=found.number("val_loss"),
        val_bpb=found.number("val_bpb"),
        xz_bpb=found.number("xz_bpb"),
        val_tokens=found.count("val_tokens"),
        seconds=found.number("seconds"),
    )


def _packed(found: Fields) -> Packed:
    return Packed(
        cap=found.count("cap"),
        code_bytes=found.count("code_bytes") or 0,
        size=found.count("size"),
        bits_per_weight=found.number("bits_per_weight"),
        float_loss=found.number("float_loss"),
        float_bpb=found.number("float_bpb"),
        loss=found.number("loss"),
        bpb=found.number("bpb"),
        predicted_gap=found.number("predicted_gap"),
        training_gap=found.number("training_gap"),
        rounded_training_gap=found.number("rounded_training_gap"),
        candidates=[_candidate(each) for each in found.objects("candidates")],
        factors=[_factors(each) for each in found.objects("factors")],
        rate=found.numbers("rate"),
        ledger=_ledger(found.object("ledger")),
    )


def _candidate(found: Fields) -> CandidateEntry:
    return CandidateEntry(
        method=found.text("method") or "-",
        fine_tuned=found.flag("fine_tuned") or False,
        kept=found.flag("kept") or False,
        size=found.count("size"),
        training_gap=found.number("training_gap"),
        seconds=found.number("seconds"),
        reason=found.text("reason"),
    )


def _factors(found: Fields) -> FactorsEntry:
    return FactorsEntry(
        name=found.text("name") or "-",
        rank=found.count("rank") or 0,
        energy=found.number("energy") or 0.0,
        saved=int(found.number("saved") or 0),
    )


def _ledger(found: Fields) -> Ledger:
    matrices = [
        MatrixEntry(
            name=each.text("name") or "-",
            shape=_shape(each),
            rank=each.count("rank") or 0,
            bits_per_weight=each.number("bits_per_weight") or 0.0,
            parts=_bytes(each.object("parts")),
        )
        for each in found.objects("matrices")
    ]
    parts = _bytes(found.object("parts"))
    return Ledger(total=found.count("total") or sum(parts.values()), parts=parts, matrices=matrices)


def _bytes(found: Fields) -> dict[str, int]:
    return {name: found.count(name) or 0 for name in found.values}


def _shape(found: Fields) -> tuple[int, ...]:
    shape = found.values.get("shape", [])
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise found.wrong("shape", "a list of whole numbers")
    return tuple(shape)


def _written(path: Path) -> Written:
    artifact = open_artifact(path)
    manifest = artifact.manifest
    return Written(
        size=artifact.size,
        weights=manifest.weights,
        golf=manifest.golf,
        cap=manifest.budget.cap,
        code_bytes=manifest.budget.code_bytes,
        claim=manifest.claim,
        ledger=artifact_ledger(artifact),
    )
