"""Arithmetic of the clock: what is left, and what fits in it."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.packing.time_budget import TimeBudget, affordable

SECONDS = st.floats(0.001, 1e4)


@given(st.integers(1, 10**6), SECONDS, st.floats(-1e4, 1e4))
def test_as_many_as_end_in_time_and_no_more_than_wanted(wanted, each, left):
    count = affordable(wanted, each=each, left=left)
    assert 0 <= count <= wanted
    assert count == 0 or count * each <= left * (1 + 1e-12)
    assert count == wanted or (count + 1) * each > left * (1 - 1e-12)


def test_what_takes_no_time_fits_while_there_is_some():
    assert affordable(7, each=0.0, left=0.1) == 7
    assert affordable(7, each=0.0, left=0.0) == 0
    assert affordable(7, each=1.0, left=math.inf) == 7


@pytest.fixture
def now(monkeypatch):
    """A clock that only a test moves."""
    time = [100.0]
    monkeypatch.setattr("golf.packing.time_budget.time.monotonic", lambda: time[0])
    return time


def test_seconds_go_to_the_use_they_were_for(now):
    time_budget = TimeBudget(10.0)
    for use, seconds in (("calibration", 2.0), ("looks", 0.5), ("looks", 1.0)):
        with time_budget.using(use):
            now[0] += seconds
        now[0] += 50  # what lies between reads no training text
    assert time_budget.spent == {"calibration": 2.0, "tuning": 0.0, "looks": 1.5}
    assert time_budget.left == 6.5


def test_a_use_that_goes_on_or_fails_counts_too(now):
    time_budget = TimeBudget(3.0)
    with suppress(ZeroDivisionError), time_budget.using("tuning"):
        now[0] += 2.0
        assert time_budget.left == 1.0
        now[0] += 2.0
        assert time_budget.left == -1.0
        1 / 0  # noqa: B018
    assert time_budget.spent["tuning"] == 4.0


def test_a_pause_within_a_use_costs_nothing(now):
    time_budget = TimeBudget(10.0)
    with time_budget.using("tuning"):
        now[0] += 1.0
        with suppress(ZeroDivisionError), time_budget.paused():
            now[0] += 30.0
            1 / 0  # noqa: B018
        now[0] += 2.0
        assert time_budget.left == 7.0
    with time_budget.paused():
        now[0] += 30.0
    assert time_budget.spent["tuning"] == 3.0


def test_without_a_limit_there_is_always_time():
    time_budget = TimeBudget()
    time_budget.expected |= {"tuning": 1e300, "looks": 1e300}
    assert not time_budget.limited
    assert list(time_budget.in_time(iter(range(3)), "tuning")) == [0, 1, 2]
