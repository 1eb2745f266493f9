from dataclasses import replace

import numpy as np
import pytest
from cli import golf_json
from coding import code_matrix

from golf.compress.encode_matrix import calibrate_matrix, distortion
from golf.compress.fisher import Fisher
from golf.compress.rate_distortion import ideal_bits, limit_bits
from golf.packing.results import RateLedger
from golf.report.ledger import rate_terms


def gaussian(M, N, *, rows=1.0, metric=None, seed=0):
    weights = np.random.default_rng(seed).standard_normal((M, N)).astype(np.float32)
    fisher = Fisher(np.broadcast_to(rows, M).astype(float), np.eye(N) if metric is None else metric)
    return calibrate_matrix("m", weights, fisher)


def test_one_gaussian_needs_half_the_logarithm_of_what_it_loses():
    given = gaussian(64, 64)
    energy = 0.5 * float(np.square(given.scaled * given.steps.relative() * given.base, dtype=np.float64).sum())
    # D = σ² 4^-R
    assert limit_bits([given], energy / 4**3) / 64**2 == pytest.approx(3, abs=0.02)
    assert limit_bits([given], energy * 1.01) == 0
    assert limit_bits([given], 0.0) == float("inf")


@pytest.mark.parametrize(("rate", "most"), [(5, 0.257), (4, 0.262), (3, 0.277)])
def test_scalar_quantization_lies_a_quarter_bit_above(rate, most):
    given = gaussian(256, 256)
    scale = np.sqrt(2 * np.pi * np.e) * 2.0**-rate  # a uniform step, from h(w) - log2 step = rate
    coded = code_matrix(given, scale, low_rank="off")
    above = (ideal_bits([coded]) - limit_bits([given], distortion(given, coded, scale))) / 256**2
    # ½ log2(2πe/12) = .2546 at high rates; more at low ones, where bins' middles stand for their centres of mass
    assert 0.25 < above < most


def test_with_correlated_inputs_feedback_keeps_that_distance():
    factor = np.random.default_rng(1).standard_normal((128, 128)) @ np.diag(np.geomspace(1, 0.03, 128))
    metric = factor @ factor.T
    metric = metric / np.trace(metric) * 128 + 0.01 * np.eye(128)
    given = gaussian(256, 128, metric=metric)
    coded = code_matrix(given, 0.05, low_rank="off")
    above = (ideal_bits([coded]) - limit_bits([given], distortion(given, coded, 0.05))) / (256 * 128)
    assert 0.25 < above < 0.27
    # the same symbols without feedback are worth far less
    plain = replace(given, feedback=np.zeros_like(given.feedback))
    worse = code_matrix(plain, 0.05, low_rank="off")
    assert limit_bits([given], distortion(plain, worse, 0.05)) < 0.9 * limit_bits(
        [given], distortion(given, coded, 0.05)
    )


def test_the_rate_ledger_adds_up_to_the_matrices_bytes(trained):
    result = golf_json("pack", "--out", "rated.bin", cwd=trained)
    rate = result["rate"]
    assert rate["ideal"] + rate["coder"] + rate["side"] == pytest.approx(result["bits_per_weight"], abs=0.2)
    assert rate["coder"] >= 0
    assert result["rounded_training_gap"] is not None
    if result["training_gap"] < result["rounded_training_gap"] and result["training_gap"] <= 0:
        assert rate["limit"] is rate["shaping"] is None
    else:
        assert rate["limit"] + rate["shaping"] == pytest.approx(rate["ideal"])
        assert rate["limit"] > 0


def test_no_limit_is_claimed_for_a_model_that_tuning_made_better_than_the_float_one(trained):
    settings = ("--set", "pack.tune_text=1", "--set", "pack.tune_batch_tokens=512")
    result = golf_json("pack", "--cap", "6kB", *settings, "--out", "better.bin", cwd=trained)
    assert result["training_gap"] < 0
    assert result["loss"] < result["float_loss"]
    assert result["rate"]["limit"] is result["rate"]["shaping"] is None
    untaught = golf_json("pack", "--cap", "6kB", "--set", "pack.tune_text=0", "--out", "no.bin", cwd=trained)
    assert untaught["rate"]["limit"] > 0


def test_what_lies_below_the_limit_is_taken_off_it():
    shown = rate_terms(RateLedger(ideal=2.517, limit=2.59, shaping=-0.073, coder=0.012, side=0.079))
    assert shown == "2.590 limit - 0.073 shaping + 0.012 coder + 0.079 side"
    better = rate_terms(RateLedger(ideal=2.517, limit=None, shaping=None, coder=0.012, side=0.079))
    assert better == "2.517 ideal code + 0.012 coder + 0.079 side"
