"""Runs beside one another: a list, and what two or more differ in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from golf.report.run_data import RunData, differing_keys
from golf.report.run_figures import parameters, training
from golf.report.tables import table
from golf.run.folder import Run


@dataclass(frozen=True)
class RunSummary:
    """A run in one line; what its folder does not tell is None. Losses are in nats per token."""

    name: str
    folder: Path
    state: str
    """packed, trained, interrupted (or still training), or imported."""
    recipe: str | None
    seed: int | None
    steps: int
    tokens: int | None
    parameters: int | None
    val_loss: float | None
    val_bpb: float | None
    bytes: int | None
    cap: int | None
    packed_loss: float | None
    packed_bpb: float | None
    written: str | None
    """When its newest file was written, local time."""


def summary(data: RunData) -> RunSummary:
    """The line of one run; of an interrupted one the losses are the last that were logged, on eval_tokens of text."""
    trained, packed, curves = data.trained, data.packed, data.metrics.curves
    last = {key: curves[key][-1][1] if curves.get(key) else None for key in ("val_loss", "val_bpb")}
    claim = data.written.claim if data.written else None
    return RunSummary(
        name=data.name,
        folder=data.folder,
        state="packed" if data.written is not None else training(data),
        recipe=data.recipe.get("name"),
        seed=data.recipe.get("seed"),
        steps=(trained.steps if trained else None) or data.metrics.last_step,
        tokens=trained.tokens if trained else None,
        parameters=parameters(data),
        val_loss=trained.val_loss if trained else last["val_loss"],
        val_bpb=trained.val_bpb if trained else last["val_bpb"],
        bytes=data.written.size if data.written else None,
        cap=packed.cap if packed else data.recipe.get("budget.cap"),
        packed_loss=claim.val_loss if claim else None,
        packed_bpb=claim.bpb if claim else None,
        written=_written(data.folder),
    )


def _written(folder: Path) -> str | None:
    times = [file.stat().st_mtime for file in Run(folder).files if file.is_file()]
    return datetime.fromtimestamp(max(times)).isoformat(" ", "seconds") if times else None


def runs_table(runs: list[RunSummary]) -> Table:
    """One row a run, the newest last: bits per byte of the checkpoint and of the pack."""
    made = table("", "run", "state", "steps", "bpb", "packed", "bytes", "written", text_columns=2)
    for run in sorted(runs, key=lambda run: run.written or ""):
        made.add_row(
            run.name,
            run.state,
            f"{run.steps:,}",
            _number(run.val_bpb),
            _number(run.packed_bpb),
            "-" if run.bytes is None else f"{run.bytes:,}",
            (run.written or "-")[5:10],
        )
    return made


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


# Figures that are compared, with their names in the table.
FIGURES = {
    "state": "state",
    "steps": "steps",
    "tokens": "tokens",
    "parameters": "parameters",
    "val_loss": "loss, nats per token",
    "val_bpb": "bits per byte",
    "bytes": "artifact, bytes",
    "packed_loss": "packed loss, nats per token",
    "packed_bpb": "packed bits per byte",
}


def recipe_differences_of(runs: list[RunData]) -> dict[str, list[Any]]:
    """Keys of the recipes whose values differ, each with one value a run; None where a run has no such key."""
    return {key: values for key, values in sorted(differing_keys(runs).items()) if key != "name"}


def comparison_tables(runs: list[RunData]) -> list[Table]:
    """Figures side by side, then the keys in which the recipes differ."""
    summaries = [summary(run) for run in runs]
    names = [run.name for run in runs]
    figures = table("figures", "", *names)
    for key, label in FIGURES.items():
        figures.add_row(label, *(_shown(getattr(each, key)) for each in summaries))
    differences = recipe_differences_of(runs)
    keys = table("recipe keys that differ" if differences else "the recipes are the same", "", *names)
    for key, values in differences.items():
        keys.add_row(key, *map(_shown, values))
    return [figures, keys] if differences else [figures]


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
