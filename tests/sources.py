"""The shared run of the tests, opened as a pack opens it."""

import torch

from golf.interrupt import listening
from golf.observer import Observer
from golf.pack import make_draft
from golf.runs import Run
from golf.source import load_source


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
