import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compress.trellis import NOISE, PARITY_CHECKS, SEGMENT, Trellis, fold, lanes, side_by_side, symbols_of


def unfold(steps, M):
    """Inverse of `fold` for a matrix: (T, S · N) → (M, N)."""
    return steps.reshape(-1, steps.shape[1] // lanes(M))[:M]


def nearest(targets, trellis=None):
    """The values of the best paths through a matrix's targets (M, N)."""
    return unfold((trellis or Trellis()).round_lanes(fold(targets)), len(targets))


def values_slowly(trellis, symbols):
    """One lane, one symbol at a time, as the docstring writes it."""
    state, values = 0, []
    for k in symbols:
        values.append(2 * k - np.sign(k) * trellis.grid[state])
        state = trellis.after[state, k % 2]
    return np.array(values, dtype=np.float32)


@settings(max_examples=40)
@given(st.sampled_from(sorted(PARITY_CHECKS)), st.integers(1, 300), st.integers(1, 5), st.integers(0, 999))
def test_values_follow_the_states_of_each_lane(states, M, N, seed):
    trellis = Trellis(states)
    symbols = np.random.default_rng(seed).integers(-4, 5, (M, N)).astype(np.int32)
    values, S = trellis.values(symbols), lanes(M)
    for lane, column in itertools.product(range(S), range(N)):
        assert np.array_equal(values[lane::S, column], values_slowly(trellis, symbols[lane::S, column]))


@pytest.mark.parametrize("states", sorted(PARITY_CHECKS))
def test_the_best_path_is_the_best_of_all(states):
    """Every sequence of five small symbols, tried one by one."""
    trellis, rng = Trellis(states), np.random.default_rng(states)
    every = np.array(list(itertools.product(range(-2, 3), repeat=5)), dtype=np.int32)
    values = np.stack([values_slowly(trellis, symbols) for symbols in every])
    for _ in range(20):
        targets = rng.uniform(-2.5, 2.5, 5).astype(np.float32)
        least = np.square(values - targets).sum(1).min()
        found = nearest(targets[:, None], trellis)[:, 0]
        assert np.square(found - targets).sum() == pytest.approx(least, rel=1e-5)


@settings(max_examples=40)
@given(st.integers(1, 400), st.integers(1, 20), st.floats(0.01, 1e4), st.integers(0, 999))
def test_symbols_stand_for_the_values_that_were_found(M, N, size, seed):
    trellis = Trellis()
    targets = (np.random.default_rng(seed).normal(size=(M, N)) * size).astype(np.float32)
    found = nearest(targets)
    assert np.array_equal(trellis.values(symbols_of(found)), found)
    assert np.abs(found - targets).max() <= 2


@pytest.mark.parametrize(("states", "most"), [(4, 0.268), (8, NOISE), (16, 0.2575)])
def test_noise_falls_with_states_and_is_below_roundings_at_the_same_bits(states, most):
    """A symbol costs what it would on a grid of step 2, whose noise is 1/3: 1.09 dB more than with 8 states."""
    targets = (np.random.default_rng(0).normal(size=(SEGMENT, 600)) * 40).astype(np.float32)
    assert np.square(nearest(targets, Trellis(states)) - targets).mean() < 1.01 * most


def test_zero_is_on_both_grids_so_that_nothing_costs_nothing():
    trellis = Trellis()
    assert not nearest(np.full((300, 3), 0.1, dtype=np.float32)).any()
    assert not trellis.values(np.zeros((300, 3), dtype=np.int32)).any()


def test_every_state_has_two_ways_in_and_both_grids_are_used():
    for states in PARITY_CHECKS:
        trellis = Trellis(states)
        assert np.bincount(trellis.after.reshape(-1)).tolist() == [2] * states
        assert trellis.grid.mean() == 0.5


@settings(max_examples=60)
@given(st.integers(1, 700), st.integers(1, 4))
def test_folding_is_undone_and_no_lane_is_longer_than_a_segment(M, N):
    rows = np.arange(1, M * N + 1).reshape(M, N)
    steps = fold(rows)
    assert len(steps) <= SEGMENT
    assert np.array_equal(unfold(steps, M), rows)
    assert np.count_nonzero(steps) == M * N


def test_columns_side_by_side_are_the_lanes_of_each():
    sizes = [3, 300, 128]
    column = np.append(np.arange(1, sum(sizes) + 1), 0)
    where = side_by_side(sizes)
    lane = 0
    for start, M in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        steps = fold(column[start : start + M])
        assert np.array_equal(column[where][: len(steps), lane : lane + lanes(M)], steps)
        assert not column[where][len(steps) :, lane : lane + lanes(M)].any()
        lane += lanes(M)


def test_what_float32_could_not_bring_back_is_refused():
    with pytest.raises(OverflowError):
        symbols_of(np.full((2, 2), 1e9, dtype=np.float32))
