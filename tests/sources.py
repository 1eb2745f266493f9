"""The shared run of the tests, opened as a pack opens it."""

from dataclasses import replace

import torch

from golf.packing.inputs import load_inputs
from golf.packing.measure import validation_score
from golf.packing.pack import Packing
from golf.run.folder import Run
from golf.runtime.observer import Observer


def opened(workspace, *settings, observer=Observer()):
    inputs = load_inputs(
        Run(workspace / "artifacts" / "tiny"),
        cache=workspace / "cache",
        device=torch.device("cpu"),
        observer=observer,
        settings=settings,
    )
    return Packing.of(inputs, observer)


def having(packing, **changes):
    """The same pack with other inputs, and no time budget yet."""
    return replace(packing, inputs=replace(packing.inputs, **changes))


def encoder_of(packing):
    return packing.encoder(packing.calibrated(), validation(packing, packing.inputs.model))


def validation(packing, model):
    return validation_score(packing.inputs, model, packing.observer)
