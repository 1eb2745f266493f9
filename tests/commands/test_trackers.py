"""`golf train --log`: the same records reach every tracker, and a missing package is told before the training."""

import json
import shutil
import sys

import pytest
from cli import golf

from golf.cli.trackers import numbers
from golf.errors import Diverged
from golf.training import train

GIVEN = ("train", "--out", "artifacts/tracked", "--set", "train.steps=6")


@pytest.fixture
def place(workspace, tmp_path):
    for name in ("text.txt", "golf.toml", "tiny.toml"):
        shutil.copy(workspace / name, tmp_path)
    return tmp_path


def recorded(place):
    """What metrics.jsonl holds, as trackers get it; the line of a look has more than the screen's."""
    lines = (place / "artifacts" / "tracked" / "metrics.jsonl").read_text().splitlines()
    return [(record["step"], numbers(record)) for record in map(json.loads, lines)]


class Fake:
    """Stands for wandb, trackio and mlflow at once."""

    def __init__(self):
        self.logged, self.ended, self.begun = [], 0, {}

    def init(self, **given):
        self.begun = given
        return self

    def log(self, figures, *, step):
        self.logged.append((step, figures))

    def log_metrics(self, figures, *, step):
        self.log(figures, step=step)

    def finish(self):
        self.ended += 1

    def set_tracking_uri(self, uri):
        self.begun = {"name": uri}

    def set_experiment(self, name):
        self.begun["project"] = name

    def log_params(self, params):
        assert params["optimizer"] == "numuon"

    def start_run(self, *, run_name):
        self.begun["run"] = run_name
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.finish()


@pytest.mark.parametrize("tracker", ["wandb", "trackio", "mlflow"])
def test_every_record_reaches_the_tracker(place, monkeypatch, tracker):
    fake = Fake()
    monkeypatch.setitem(sys.modules, tracker, fake)
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    golf(*GIVEN, "--log", tracker, cwd=place)
    expected = recorded(place)
    assert [step for step, _ in fake.logged] == [step for step, _ in expected]
    for (_, sent), (_, written) in zip(fake.logged, expected, strict=True):
        assert written.items() <= sent.items()
    assert fake.ended == 1 and fake.begun["project"] == "golf"
    if tracker == "wandb":
        assert fake.begun["mode"] == "offline"


def test_a_failed_training_ends_the_trackers_run(place, monkeypatch):
    fake = Fake()
    monkeypatch.setitem(sys.modules, "wandb", fake)

    def diverge(*_arguments):
        raise Diverged("the loss is not finite")

    monkeypatch.setattr(train, "_record", diverge)
    golf(*GIVEN, "--log", "wandb", cwd=place, check=6)
    assert fake.ended == 1


def test_a_missing_package_is_told_before_anything_is_trained(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    done = golf(*GIVEN, "--log", "trackio", cwd=place, check=5)
    assert "pip install trackio" in done.stderr
    assert not (place / "artifacts").exists()


def test_tensorboard_gets_event_files(place, monkeypatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    golf(*GIVEN, "--log", "tensorboard", cwd=place)
    events = EventAccumulator(str(place / "artifacts" / "tensorboard" / "tracked")).Reload()
    written = [figures["train_loss"] for _, figures in recorded(place)]
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx(written, rel=1e-6)


def test_numbers_are_flat_and_those_of_single_matrices_stay_out():
    record = {"step": 3, "loss": 1, "on": True, "stable_rank": {"mlp.up": 2.5}, "matrices": {"a": {"x": 1.0}}, "t": "x"}
    assert numbers(record) == {"loss": 1.0, "stable_rank/mlp.up": 2.5}
