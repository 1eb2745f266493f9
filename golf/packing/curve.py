"""The whole curve: what a checkpoint is worth at every size, from the smallest reachable to the roomy end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from golf.packing.encoder import Draft
from golf.packing.inputs import Source, load_source
from golf.packing.pack import Stages, make_draft, measured
from golf.packing.results import Curve, CurvePoint
from golf.packing.search import Fit, fit, smallest_size
from golf.run.folder import Run
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

# The smallest file holds zeros alone. Below this share of the way from there to the roomy end, in logarithms of the
# bytes that matrices take, no model is left.
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

    Calibration is done once. Sizes are the whole file's, code not counted.
    """
    clock = Stages()
    source = load_source(
        run,
        cache=cache,
        device=device,
        stop=stop,
        observer=observer,
        budget={"code_bytes": code_bytes},
        settings=settings,
    )
    prepared = source.prepared()
    float_score = source.score(source.model)
    draft = make_draft(source, prepared, float_score)
    clock.done("prepare")
    roomy = fit(draft, source, room=1 << 50)
    found = [_point(roomy, source, run)]
    smallest = smallest_size(draft)
    for index, room in enumerate(_rooms(smallest, roomy.solution.size, points)):
        observer.note(f"point {index + 2} of {points}: {room:,} bytes")
        found.append(_point(fit(draft, source, room=room), source, run))
        clock.done(f"{room} bytes")
    return Curve(
        run=run.folder,
        weights=draft.weights,
        smallest=smallest,
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        points=sorted(found, key=lambda point: point.size),
        seconds=clock.seconds,
    )


def _rooms(smallest: int, roomy: int, points: int) -> list[int]:
    """Sizes below the roomy end, falling, evenly spaced in logarithms of what they hold beyond the smallest file."""
    shares = np.geomspace(1, _LEAST_SHARE, points)[1:]
    return [smallest + round((roomy - smallest) * float(share)) for share in shares]


def _point(found: Fit, source: Source, run: Run) -> CurvePoint:
    packed = found.solution.packed
    score = measured(packed, source, run.artifact)
    return CurvePoint(
        size=found.solution.size,
        bits_per_weight=8 * _matrix_bytes(found.draft, found) / found.draft.weights,
        loss=score.loss,
        bpb=score.bpb,
        training_gap=found.gap,
        tuned=found.tuned,
    )


def _matrix_bytes(draft: Draft, found: Fit) -> int:
    """Bytes of the matrices' sections and of the tables they share."""
    names = {prepared.name for prepared in draft.prepared}
    payloads = found.solution.packed.payloads
    return sum(len(p.content) for p in payloads if p.name.partition("/")[0] in names or p.name == "tables")
