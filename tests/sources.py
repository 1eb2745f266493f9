"""The shared run of the tests, opened as a pack opens it."""

from dataclasses import dataclass, replace

import torch

from golf.packing.inputs import PackInputs, load_inputs
from golf.packing.measure import held_out_gap, score
from golf.packing.pack import best_pack, calibrated, model_encoder
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.packing.timing import text_windows
from golf.run.folder import Run
from golf.runtime.observer import Observer


@dataclass(frozen=True)
class Opened:
    """A run's inputs, its text, and how it is watched."""

    inputs: PackInputs
    windows: TextWindows
    time_budget: TimeBudget
    observer: Observer

    @property
    def section(self):
        return self.inputs.recipe.pack

    def encoder(self):
        matrices = calibrated(self.inputs, self.windows, self.time_budget, self.observer)
        return model_encoder(self.inputs, matrices, score(self.inputs, self.inputs.model, self.observer), self.observer)

    def best(self, encoder, byte_budget):
        return best_pack(self.inputs, encoder, self.windows, self.time_budget, self.observer, byte_budget=byte_budget)

    def gap(self, encoder, encoded):
        return held_out_gap(self.inputs.model, encoder.decoded(encoded), self.windows)

    def score(self, model):
        return score(self.inputs, model, self.observer)

    def having(self, **changes):
        """The same with other inputs."""
        return replace(self, inputs=replace(self.inputs, **changes))

    def timed(self, time_budget):
        return replace(self, time_budget=time_budget)


def opened(workspace, *settings, observer=Observer()):
    inputs = load_inputs(
        Run(workspace / "artifacts" / "tiny"),
        cache=workspace / "cache",
        device=torch.device("cpu"),
        observer=observer,
        settings=settings,
    )
    return Opened(inputs, text_windows(inputs, observer), TimeBudget(), observer)
