import json

import pytest
from cli import golf
from hypothesis import given
from hypothesis import strategies as st

from golf.runtime.clock import peak_flops, steps_within

TIMES = st.floats(0, 1e6, allow_nan=False)


def test_the_pace_so_far_sets_the_last_step():
    assert steps_within(elapsed=10, step=100, seconds=60, steps=10_000) == 600
    assert steps_within(elapsed=10, step=100, seconds=60, steps=300) == 300
    assert steps_within(elapsed=60, step=100, seconds=60, steps=300) == 100


def test_the_first_steps_predict_nothing():
    assert steps_within(elapsed=9, step=2, seconds=10, steps=300) == 300


@given(TIMES, st.integers(0, 10**6), TIMES, st.integers(1, 10**6))
def test_the_end_is_never_behind_the_step_nor_beyond_the_recipe(elapsed, step, seconds, steps):
    step = min(step, steps)
    assert step <= steps_within(elapsed=elapsed, step=step, seconds=seconds, steps=steps) <= steps


def test_a_budget_of_seconds_is_spent_and_its_cooldown_ends_on_it(workspace):
    out = workspace / "timed"
    timed = ("--set", "train.max_seconds=4", "--set", "train.steps=100000", "--set", "train.eval_every=100000")
    golf("train", *timed, "--set", "train.log_every=1", "--out", out, cwd=workspace)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    # a step takes milliseconds here; a busy machine may stretch the last one
    assert 3 < records[-1]["elapsed"] < 5
    rates = [record["lr"] for record in records]
    assert rates[-1] < 0.1 * max(rates)
    assert "val_loss" in records[-1]


def test_a_last_step_that_nobody_foresaw_is_looked_at_too(workspace, monkeypatch):
    """A machine that stalls for a moment spends the seconds of the steps that were to come."""
    monkeypatch.setattr("golf.training.train.steps_within", lambda *, step, steps, **_: step if step >= 7 else steps)
    out = workspace / "stalled"
    golf("train", "--set", "train.max_seconds=600", "--set", "train.eval_every=1000", "--out", out, cwd=workspace)
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "val_loss" in record] == [7]


def test_peaks_are_known_by_name():
    assert peak_flops("NVIDIA H100 80GB HBM3") == pytest.approx(989e12)
    assert peak_flops("Some Card") is None
