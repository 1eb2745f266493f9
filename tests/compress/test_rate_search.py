import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.compress.rate_search import Solution, finest_scale, solve


def sizes(total, floor=200):
    """A packer whose size falls by one bit a weight for every doubling of the step, in steps of some bytes."""

    def build(scale):
        size = floor + max(0, math.floor(total * max(0.0, 8 - math.log2(scale)) / 8))
        return size, scale

    return build


@given(st.integers(1000, 10**7), st.floats(0.01, 0.99))
def test_the_cap_is_met_and_nearly_filled(total, share):
    room = 200 + math.ceil(total * share)
    found = solve(sizes(total), byte_budget=room, finest=1.0, weights=total)
    assert isinstance(found, Solution)
    assert found.binding
    assert room - max(16, 0.0001 * room) <= found.size <= room
    assert found.probes <= 20
    assert sizes(total)(found.scale) == (found.size, found.built)


@given(st.integers(10_000, 10**7), st.floats(0.05, 0.95), st.floats(1.0, 200.0), st.floats(0.5, 2.0))
def test_a_model_of_the_sizes_and_a_start_lead_there_from_anywhere(total, share, start, factor):
    """The model is right but for a factor, which is all that is asked of it."""
    byte_budget = 200 + math.ceil(total * share)
    model = lambda scale: factor * (200 + total * max(0.0, 8 - math.log2(scale)) / 8)  # noqa: E731
    found = solve(sizes(total), byte_budget=byte_budget, finest=1.0, weights=total, start=start, estimate=model)
    assert isinstance(found, Solution)
    assert byte_budget - max(16, 0.0001 * byte_budget) <= found.size <= byte_budget
    assert sizes(total)(found.scale) == (found.size, found.built)
    assert found.probes <= 8


def test_a_roomy_cap_stops_at_the_finest_step():
    found = solve(sizes(10_000), byte_budget=10**9, finest=1.0, weights=10**6)
    assert isinstance(found, Solution)
    assert not found.binding
    assert (found.scale, found.probes) == (1.0, 1)


def test_an_unreachable_cap_gives_the_smallest_size():
    assert solve(sizes(10_000, floor=500), byte_budget=499, finest=1.0, weights=10**6) == 500


def test_noise_of_some_bytes_never_breaks_the_cap():
    def noisy(scale):
        size, built = sizes(50_000)(scale)
        return size + hash(scale) % 40, built

    for room in range(2_000, 40_000, 1_777):
        found = solve(noisy, byte_budget=room, finest=1.0, weights=10**6)
        assert isinstance(found, Solution)
        assert found.size <= room


def test_the_finest_step_costs_the_gap_that_was_asked_for():
    weights, gap = 10**6, 5e-4
    assert weights * finest_scale(weights, gap) ** 2 / 24 == pytest.approx(gap)
