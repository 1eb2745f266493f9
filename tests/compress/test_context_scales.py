import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compress.context_scales import MOST_OFFSET, ContextScales, offsets, whole_scale
from golf.compress.quantize import StepCodes


def separable(rows, columns, *, seed=0):
    """Gaussian weights whose deviations are 2^(codes / 4)."""
    rng = np.random.default_rng(seed)
    deviations = np.exp2(np.add.outer(rows, columns) / 4)
    return (rng.normal(size=deviations.shape) * deviations).astype(np.float32)


def test_spreads_of_rows_and_columns_are_found_up_to_what_the_whole_has():
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(-6, 7, 400), rng.integers(-6, 7, 600)
    found_rows, found_columns = offsets(separable(rows, columns))
    assert np.abs((found_rows - rows) - np.median(found_rows - rows)).max() <= 1
    assert np.abs((found_columns - columns) - np.median(found_columns - columns)).max() <= 1


def test_equal_weights_have_even_spreads():
    rows, columns = offsets(separable(np.zeros(2000), np.zeros(2000)))
    assert not rows.any()
    assert not columns.any()


@pytest.mark.parametrize("matrix", [np.zeros((3, 4)), np.eye(3, 4), np.full((3, 4), 1e-30), np.full((1, 5), 1e30)])
def test_odd_matrices_have_spreads_within_bounds(matrix):
    for codes in offsets(matrix.astype(np.float32)):
        assert codes.dtype == np.int8
        assert np.abs(codes).max() <= MOST_OFFSET


@settings(max_examples=50)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(-50, 50), st.integers(0, 99))
def test_a_level_is_the_whole_with_row_and_column_less_the_steps(M, N, whole, seed):
    rng = np.random.default_rng(seed)
    steps = StepCodes(rng.integers(0, 256, M).astype(np.uint8), rng.integers(0, 256, N).astype(np.uint8))
    codes = [rng.integers(-MOST_OFFSET, MOST_OFFSET + 1, n).astype(np.int8) for n in (M, N)]
    levels, i, j = ContextScales(whole, *codes).levels(steps), seed % M, seed % N
    assert levels[i, j] == whole + int(codes[0][i]) + int(codes[1][j]) - int(steps.rows[i]) - int(steps.columns[j])


def test_variances_are_the_squares_of_the_deviations():
    spread = ContextScales(7, np.array([0, 4], dtype=np.int8), np.array([0, -4, 8], dtype=np.int8))
    assert spread.variances().tolist() == [[1, 0.25, 16], [4, 1, 64]]


def test_the_whole_is_the_rms_of_symbols_in_the_tensors_own_step():
    steps = StepCodes(np.array([4, 4], dtype=np.uint8), np.zeros(3, dtype=np.uint8))
    assert whole_scale(np.full((2, 3), 4, dtype=np.int32), steps) == 4 * 3
