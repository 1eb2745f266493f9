from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.optim import learning_rate, rank_fraction, rank_of
from golf.optim.schedules import momentum
from golf.recipe import RankSchedule


def rates(steps, warmup=0.0, cooldown=0.0, min_lr=0.1):
    return [learning_rate(s, steps=steps, warmup=warmup, cooldown=cooldown, min_lr=min_lr) for s in range(steps)]


def test_warmup_plateau_cooldown():
    curve = rates(10, warmup=0.3, cooldown=0.4, min_lr=0.2)
    assert curve == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])


@given(st.integers(1, 300), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_is_positive_unless_min_lr_is_zero_and_ends_at_min_lr(steps, warmup, cooldown, min_lr):
    curve = rates(steps, warmup, cooldown, min_lr)
    assert all(0 <= rate <= 1 for rate in curve)
    assert all(rate > 0 for rate in curve[:-1])
    if round(cooldown * steps) and round((warmup + cooldown) * steps) <= steps and round(warmup * steps) < steps:
        assert curve[-1] == pytest.approx(min_lr)


@pytest.mark.parametrize("kind", ["cosine", "piecewise"])
def test_rank_holds_falls_and_stays(kind):
    schedule = RankSchedule(kind=kind, start=1.0, end=0.25, hold=0.1, finish=0.8)
    curve = [rank_fraction(s, steps=1000, schedule=schedule) for s in range(1000)]
    assert set(curve[:100]) == {1.0}
    assert set(curve[800:]) == {0.25}
    assert all(a >= b for a, b in pairwise(curve))
    assert all(0.25 <= r <= 1.0 for r in curve)


def test_cosine_is_half_way_in_the_middle():
    schedule = RankSchedule(kind="cosine", start=1.0, end=0.5, hold=0.2, finish=0.6)
    assert rank_fraction(400, steps=1000, schedule=schedule) == pytest.approx(0.75)


def test_piecewise_has_a_few_stairs():
    schedule = RankSchedule(kind="piecewise", start=1.0, end=0.25)
    assert len({rank_fraction(s, steps=1000, schedule=schedule) for s in range(1000)}) == 6


def test_fixed_never_moves():
    schedule = RankSchedule(kind="fixed", end=0.3)
    assert {rank_fraction(s, steps=50, schedule=schedule) for s in range(50)} == {0.3}


@given(st.floats(1e-6, 1), st.integers(1, 5000))
def test_rank_is_within_bounds_and_never_less_than_asked(fraction, side):
    rank = rank_of(fraction, smaller_side=side)
    assert 1 <= rank <= side
    assert rank >= min(side, int(fraction * side))
    assert rank % 16 == 0 or rank == side or side <= 16


def test_momentum_rises_in_a_line_to_its_peak():
    curve = [momentum(s, steps=20, warmup=0.5, peak=0.95) for s in range(20)]
    assert curve[0] == 0.85
    assert curve[5] == pytest.approx(0.90)
    assert curve[10:] == [0.95] * 10
    assert momentum(0, steps=20, warmup=0.0, peak=0.95) == 0.95
    assert momentum(0, steps=20, warmup=0.5, peak=0.5) == 0.5


def test_an_end_of_its_own_stands_for_the_schedules():
    schedule = RankSchedule(kind="cosine", start=1.0, end=0.25)
    assert rank_fraction(90, steps=100, schedule=schedule, end=0.5) == 0.5
    assert rank_fraction(0, steps=100, schedule=schedule, end=0.5) == 1.0
