"""Measure a pack: its gap to the float model on held-out training text, and the file's loss on the claim's text."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from golf.artifact import NO_LIMITS, assemble, open_artifact
from golf.evaluation.loss import Score
from golf.evaluation.rebuild import rebuild
from golf.evaluation.score_text import score_text
from golf.model import Transformer
from golf.packing.encoder import EncodedModel
from golf.packing.inputs import PackInputs
from golf.packing.text_windows import TextWindows
from golf.runtime import durable
from golf.runtime.observer import Observer
from golf.runtime.parallel import parallel_map


def held_out_gap(model: Transformer, rebuilt: Transformer, windows: TextWindows) -> float:
    """Loss of the rebuilt model minus the float model's, nats per token, on held-out training text."""

    @torch.inference_mode()
    def difference(window: Tensor) -> tuple[float, int]:
        return float(rebuilt.loss(window) - model.loss(window)), len(window)

    # batches may differ in rows
    gaps, rows = zip(*parallel_map(difference, windows.held_out(), device=windows.device), strict=True)
    return statistics.fmean(gaps, weights=rows)


def validation_score(inputs: PackInputs, model: Transformer, observer: Observer) -> Score:
    """Score of `model` on the validation text of the claim."""
    return score_text(
        model,
        inputs.validation,
        inputs.data.tokenizer,
        sequence_length=inputs.recipe.train.sequence_length,
        device=inputs.device,
        progress=lambda share: observer.stage("measure", share),
        stop=observer.check,
    )


def score_as_written(inputs: PackInputs, encoded: EncodedModel, out: Path, observer: Observer) -> Score:
    """Score of a pack as re-read from disk: it is written to a temporary file next to `out`, which is then removed."""
    unmeasured = durable.temporary_beside(out)
    try:
        durable.write_bytes(unmeasured, assemble(replace(encoded.manifest, claim=None), encoded.payloads))
        rebuilt = rebuild(open_artifact(unmeasured), poll=observer.check, limits=NO_LIMITS)
        return validation_score(inputs, rebuilt.model.to(inputs.device), observer)
    finally:
        unmeasured.unlink(missing_ok=True)
