"""Pack one checkpoint at many sizes and measure each, from near the smallest reachable up to `pack.target_gap`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from golf.evaluation.loss import Score
from golf.packing.inputs import load_inputs
from golf.packing.measure import score_as_written, validation_score
from golf.packing.pack import Packing
from golf.packing.results import Curve, CurvePoint
from golf.packing.search import Candidate, smallest_size
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.run.folder import Run
from golf.runtime.clock import Stages
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while packing; no curve was written"
# Bytes above the smallest file, which holds zeros alone, of the smallest pack of a curve over those of the largest:
# below this share the model predicts nothing.
_LEAST_SHARE = 0.02


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
) -> Curve:
    """Pack `run`'s newest checkpoint at `points` sizes and measure each as re-read from disk; no artifact is kept.

    Calibration is done once. Sizes are bytes of the whole file, code not counted.
    """
    stages, observer = Stages(), observer.stopping(stop, _STOPPED)
    named = [] if code_bytes is None else [f"budget.code_bytes={code_bytes}"]
    inputs = load_inputs(run, cache=cache, device=device, observer=observer, settings=[*settings, *named])
    packing = Packing(inputs, TextWindows.of(inputs, observer), TimeBudget(), observer)
    float_score = validation_score(inputs, inputs.model, observer)
    encoder = packing.encoder(packing.calibrated(), float_score)
    stages.done("prepare")

    def point(byte_budget: int) -> CurvePoint:
        kept = packing.best(encoder, byte_budget).kept
        return _point(kept, score_as_written(inputs, kept.solution.built, run.artifact, observer))

    found = [point(1 << 50)]
    smallest = smallest_size(encoder)
    for index, byte_budget in enumerate(_sizes(smallest, found[0].size, points)):
        observer.note(f"point {index + 2} of {points}: {byte_budget:,} bytes")
        found.append(point(byte_budget))
        stages.done(f"{byte_budget} bytes")
    return Curve(
        run=run.folder,
        weights=encoder.weights,
        smallest=smallest,
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        points=sorted(found, key=lambda point: point.size),
        seconds=stages.seconds,
    )


def _sizes(smallest: int, roomy: int, points: int) -> list[int]:
    """Byte budgets below `roomy`, decreasing, evenly spaced in the logarithm of bytes above the smallest file."""
    shares = np.geomspace(1, _LEAST_SHARE, points)[1:]
    return [smallest + round((roomy - smallest) * float(share)) for share in shares]


def _point(kept: Candidate, found: Score) -> CurvePoint:
    return CurvePoint(
        size=kept.solution.size,
        bits_per_weight=8 * sum(kept.solution.built.matrix_bytes.values()) / kept.encoder.weights,
        loss=found.loss,
        bpb=found.bpb,
        training_gap=kept.gap,
        tuned=kept.method.fine_tune,
    )
