import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compress.gptq import error_feedback, round_columns


def metric_of(N, seed):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(2 * N + 4, N)) * np.exp(rng.normal(size=N))
    return mixed.T @ mixed / N + 0.01 * np.eye(N)


def round_slowly(values, metric):
    """The recursion as the docstring writes it: columns from the last to the first, errors against the original."""
    C = np.linalg.cholesky(metric)
    rounded, targets = np.zeros_like(values), np.zeros_like(values)
    for j in range(values.shape[1] - 1, -1, -1):
        errors = rounded[:, j + 1 :] - values[:, j + 1 :]
        targets[:, j] = values[:, j] - errors @ C[j + 1 :, j] / C[j, j]
        rounded[:, j] = np.rint(targets[:, j])
    return rounded, targets


@settings(max_examples=40)
@given(st.integers(1, 12), st.integers(1, 150), st.integers(0, 999))
def test_the_fast_recursion_is_the_slow_one(M, N, seed):
    values = np.random.default_rng(seed).normal(size=(M, N)) * 3
    metric = metric_of(N, seed)
    rounded, targets = round_columns(values.astype(np.float32), error_feedback(metric).feedback)
    slow_rounded, slow_targets = round_slowly(values, metric)
    # where float32 tips one symbol over, what follows in that row differs too: compare rows that did not
    same = (rounded == slow_rounded).all(1)
    assert same.mean() > 0.5 or M < 4
    assert np.allclose(targets[same], slow_targets[same], atol=2e-3)


def test_every_rounding_leaves_at_most_half_a_step_in_its_own_column():
    values, metric = np.random.default_rng(0).normal(size=(50, 90)) * 5, metric_of(90, 1)
    back = error_feedback(metric)
    rounded, _ = round_columns(values.astype(np.float32), back.feedback)
    left = (rounded - values) @ np.linalg.cholesky(metric) / back.weights
    assert np.abs(left).max() <= 0.5 + 1e-3


def test_it_costs_less_than_the_nearest_integers():
    values, metric = np.random.default_rng(0).normal(size=(200, 60)), metric_of(60, 2)

    def cost(rounded):
        return np.einsum("ij,jk,ik->", rounded - values, metric, rounded - values)

    rounded, _ = round_columns(values.astype(np.float32), error_feedback(metric).feedback)
    assert cost(rounded) < 0.75 * cost(np.rint(values))


def test_columns_that_know_nothing_of_one_another_are_rounded_alone():
    values = np.random.default_rng(0).normal(size=(9, 70)).astype(np.float32) * 4
    back = error_feedback(np.diag(np.linspace(1, 9, 70)))
    rounded, targets = round_columns(values, back.feedback)
    assert np.array_equal(rounded, np.rint(values))
    assert np.array_equal(targets, values)
    assert back.weights == pytest.approx(np.sqrt(np.linspace(1, 9, 70)))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_symbol(threads):
    import torch

    values, metric = np.random.default_rng(5).normal(size=(300, 200)).astype(np.float32) * 9, metric_of(200, 3)
    before, known = torch.get_num_threads(), round_columns(values, error_feedback(metric).feedback)[0]
    try:
        torch.set_num_threads(threads)
        assert np.array_equal(round_columns(values, error_feedback(metric).feedback)[0], known)
    finally:
        torch.set_num_threads(before)
