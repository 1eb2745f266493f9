"""A run opened for packing on the CPU, its data in the workspace's cache; bench/ opens runs so too.

No clock counts what is read, as in `golf pack --curve`: a script packs one checkpoint many times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from golf.evaluation.loss import Score
from golf.model import Transformer
from golf.packing.encoder import ModelEncoder
from golf.packing.inputs import load_inputs
from golf.packing.measure import validation_score
from golf.packing.pack import Packing
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.run.folder import Run
from golf.run.workspace import find_workspace
from golf.runtime.observer import Observer


def opened(folder: Path, settings: Iterable[str] = (), *, observer: Observer = Observer()) -> Packing:
    """The newest checkpoint of the run in `folder`; `settings` (section.key=value) are laid over its recipe."""
    cache, device = find_workspace(Path.cwd()).data, torch.device("cpu")
    inputs = load_inputs(Run(folder), cache=cache, device=device, observer=observer, settings=settings)
    return Packing(inputs, TextWindows.of(inputs, observer), TimeBudget(), observer)


def with_pack(packing: Packing, **changed: object) -> Packing:
    """The same run with keys of the recipe's [pack] replaced; nothing is validated."""
    recipe = packing.inputs.recipe
    recipe = recipe.model_copy(update={"pack": recipe.pack.model_copy(update=changed)})
    return replace(packing, inputs=replace(packing.inputs, recipe=recipe))


def validation(packing: Packing, model: Transformer) -> Score:
    """Loss on the validation text that an artifact's claim is about."""
    return validation_score(packing.inputs, model, packing.observer)


def encoder_of(packing: Packing) -> ModelEncoder:
    """The encoder of the run's own matrices, calibrated."""
    return packing.encoder(packing.calibrated(), validation(packing, packing.inputs.model))
