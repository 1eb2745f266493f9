import math

import numpy as np
import pytest
from coding import code_matrix

from golf.compress import size_estimate as module
from golf.compress.encode_matrix import calibrate_matrix
from golf.compress.fisher import Fisher
from golf.compress.rate_distortion import ideal_bits as conditional_bits
from golf.compress.size_estimate import estimate_size
from golf.compress.trellis import STATES


def correlated(M, N, seed=0):
    """A matrix (M, N) with rows of differing size, and a sensitivity with rows and columns of differing weight."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(4 * N, N)) * np.logspace(0, 1, N)
    metric = inputs.T @ inputs
    metric *= N / np.trace(metric)
    weights = (0.02 * rng.normal(size=(M, N)) * np.logspace(-1, 0, M)[:, None]).astype(np.float32)
    return weights, Fisher(np.logspace(0, 2, M), metric)


@pytest.mark.parametrize(("shape", "stride"), [((40, 24), 1), ((1024, 128), 4)])
def test_it_looks_at_what_the_codec_makes_of_a_matrix(shape, stride):
    weights, fisher = correlated(*shape)
    prepared = calibrate_matrix("w", weights, fisher)
    sample, codes = module._sample(weights, fisher)
    assert np.array_equal(sample, prepared.scaled[::stride])
    assert np.array_equal(codes, np.concatenate((prepared.steps.rows, prepared.steps.columns)))


def test_bits_of_a_gaussian_are_its_entropy():
    """h(σ) - log2 c at a step c that is fine, by definition of the differential entropy."""
    M, N, gap = 128, 128, 1e-3
    weights = np.random.default_rng(0).normal(size=(M, N)).astype(np.float32)
    fisher = Fisher(np.ones(M), np.eye(N))
    found = estimate_size({"w": weights}, {"w": fisher}, other_bytes=0, byte_budget=1 << 30, target_gap=gap)
    step = math.sqrt(24 * gap / weights.size)
    # the counted entropy of n symbols lies K / 2n ln 2 below, K being the number of kinds, thousands here
    kinds = 8 / step
    expected = 0.5 * math.log2(2 * math.pi * math.e) - math.log2(step) - kinds / (2 * weights.size * math.log(2))
    assert found.bits_per_weight == pytest.approx(expected, rel=0.02)
    assert found.gap == pytest.approx(gap, rel=0.02)
    assert found.bytes == found.wanted_bytes


def test_rows_that_are_left_out_hardly_change_the_size(monkeypatch):
    matrices, fishers = {}, {}
    for index, shape in enumerate([(1024, 128), (512, 256), (256, 512)]):
        matrices[str(index)], fishers[str(index)] = correlated(*shape, seed=index)
    options = {"other_bytes": 1000, "byte_budget": 150_000, "target_gap": 0.05}
    some = estimate_size(matrices, fishers, **options)
    monkeypatch.setattr(module, "_SAMPLE", 1 << 30)
    every = estimate_size(matrices, fishers, **options)
    # 2^15 of 2^17 weights each, in rows whose sizes differ tenfold
    assert some.wanted_bytes == pytest.approx(every.wanted_bytes, rel=0.01)
    assert 0.999 * options["byte_budget"] < some.bytes <= options["byte_budget"]
    assert some.gap == pytest.approx(every.gap, rel=0.1)


def test_a_trellis_is_predicted_to_cost_what_it_costs():
    """Against the conditional entropy of symbols that a trellis found, at about 4 bits."""
    weights = np.random.default_rng(0).normal(size=(512, 256)).astype(np.float32)
    fisher = Fisher(np.ones(512), np.eye(256))
    gap = weights.size * 0.2**2 / 24
    options = {"other_bytes": 0, "byte_budget": 1 << 30, "target_gap": gap}
    found = estimate_size({"w": weights}, {"w": fisher}, trellis=True, **options)
    coded = code_matrix(calibrate_matrix("w", weights, fisher, states=STATES), 0.2, low_rank="off")
    assert found.bits_per_weight == pytest.approx(conditional_bits([coded]) / weights.size, rel=0.01)
    plain = estimate_size({"w": weights}, {"w": fisher}, **options)
    assert found.bits_per_weight < plain.bits_per_weight - 0.1
    assert found.gap == plain.gap
