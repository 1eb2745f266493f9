"""The shared run of the tests, opened as a pack opens it."""

import torch

from golf.packing.inputs import load_source
from golf.packing.pack import make_draft
from golf.run.folder import Run
from golf.runtime.interrupt import listening
from golf.runtime.observer import Observer


def source_of(workspace, *settings):
    with listening() as stop:
        return load_source(
            Run(workspace / "artifacts" / "tiny"),
            cache=workspace / "cache",
            device=torch.device("cpu"),
            stop=stop,
            observer=Observer(),
            budget={},
            settings=settings,
        )


def draft_of(source):
    return make_draft(source, source.prepared(), source.score(source.model))
