"""Pack one checkpoint at many sizes and measure each, from near the smallest reachable up to `pack.target_gap`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from golf import __version__
from golf.evaluation.loss import Score
from golf.packing.inputs import PackInputs, load_inputs
from golf.packing.measure import score_as_written, validation_score
from golf.packing.pack import Packing
from golf.packing.results import Curve, CurvePoint
from golf.packing.search import Candidate, smallest_size
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.run.checkpoint import tensor_digest
from golf.run.folder import Run
from golf.runtime.clock import Stages
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while packing; the points that were measured are kept, and the same command goes on"
# Bytes above the smallest file, which holds zeros alone, of the smallest pack of a curve over those of the largest:
# below this share the model predicts nothing.
_LEAST_SHARE = 0.02
# A budget that no pack fills: the pack is as large as `pack.target_gap` asks.
_ROOMY = 1 << 50


def curve(
    run: Run,
    *,
    points: int,
    code_bytes: int | None,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    settings: Iterable[str] = (),
    observer: Observer = Observer(),
    earlier: Curve | None = None,
    keep: Callable[[Curve], None] = lambda _curve: None,
) -> Curve:
    """Pack `run`'s newest checkpoint at `points` sizes and measure each as re-read from disk; no artifact is kept.

    Calibration is done once. Sizes are bytes of the whole file, code not counted. `keep` is called after every point
    with the curve so far; points of an `earlier` curve of the same inputs are not made again.
    """
    stages, observer = Stages(), observer.stopping(stop, _STOPPED)
    named = [] if code_bytes is None else [f"budget.code_bytes={code_bytes}"]
    inputs = load_inputs(run, cache=cache, device=device, observer=observer, settings=[*settings, *named])
    packing = Packing(inputs, TextWindows.of(inputs, observer), TimeBudget(), observer)
    float_score = validation_score(inputs, inputs.model, observer)
    encoder = packing.encoder(packing.calibrated(), float_score)
    stages.done("prepare")
    digest = _digest(inputs)
    made = {p.byte_budget: p for p in earlier.points} if earlier is not None and earlier.inputs == digest else {}
    found: list[CurvePoint] = []
    empty = Curve(
        run=run.folder,
        weights=encoder.weights,
        smallest=smallest_size(encoder),
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        cap=inputs.recipe.budget.cap - inputs.recipe.budget.code_bytes,
        points=[],
        seconds=stages.seconds,
        inputs=digest,
    )

    def with_points(*others: CurvePoint) -> Curve:
        return replace(empty, points=sorted([*found, *others], key=lambda point: point.size))

    def measure(byte_budget: int) -> CurvePoint:
        if byte_budget in made:
            return made[byte_budget]
        kept = packing.best(encoder, byte_budget).kept
        return _point(byte_budget, kept, score_as_written(inputs, kept.solution.built, run.artifact, observer))

    def add(byte_budget: int) -> CurvePoint:
        known, point = byte_budget in made, measure(byte_budget)
        found.append(point)
        stage = f"{point.size} bytes"
        stages.done(stage)
        made.pop(byte_budget, None)
        keep(with_points(*made.values()))  # an interruption loses no point that was there
        how = "made before" if known else f"{stages.seconds[stage]:.0f} s"
        observer.note(f"point {len(found)} of {points}: {point.size:,} bytes, {point.bpb:.4f} bits per byte, {how}")
        return point

    for byte_budget in _sizes(empty.smallest, add(_ROOMY).size, points):
        add(byte_budget)
    keep(with_points())
    return with_points()


def _digest(inputs: PackInputs) -> str:
    """SHA-256 of what a curve's points depend on: the weights, the recipe but for its cap, and golf's version."""
    recipe = inputs.recipe.model_dump(mode="json")
    recipe["budget"].pop("cap")
    weights = tensor_digest(dict(inputs.model.state_dict()))
    return hashlib.sha256(json.dumps([weights, recipe, __version__], sort_keys=True).encode()).hexdigest()


def _sizes(smallest: int, roomy: int, points: int) -> list[int]:
    """Byte budgets below `roomy`, decreasing, evenly spaced in the logarithm of bytes above the smallest file."""
    shares = np.geomspace(1, _LEAST_SHARE, points)[1:]
    return [smallest + round((roomy - smallest) * float(share)) for share in shares]


def _point(byte_budget: int, kept: Candidate, found: Score) -> CurvePoint:
    return CurvePoint(
        byte_budget=byte_budget,
        size=kept.solution.size,
        bits_per_weight=8 * sum(kept.solution.built.matrix_bytes.values()) / kept.encoder.weights,
        loss=found.loss,
        bpb=found.bpb,
        training_gap=kept.gap,
        tuned=kept.method.fine_tune,
    )
