"""The shared run of the tests, opened as a pack opens it; its text is named relative to the working folder."""

from dataclasses import replace

from experiments import opened as experiments
from experiments.opened import encoder_of, validation
from golf.runtime.observer import Observer

__all__ = ["encoder_of", "having", "opened", "validation"]


def opened(workspace, *settings, observer=Observer()):
    return experiments.opened(workspace / "artifacts" / "tiny", settings, observer=observer)


def having(packing, **changes):
    """The same pack with other inputs."""
    return replace(packing, inputs=replace(packing.inputs, **changes))
