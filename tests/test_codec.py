import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compress.codec import (
    code_matrix,
    decode_matrix,
    distortion,
    pack_matrix,
    prepare_matrix,
    unpack_matrix,
    update_digest,
)
from golf.compress.factorize import choose_rank, factorize, reconstruct, spectrum
from golf.compress.quantize import STEPS_PER_OCTAVE, dequantize, from_codes, quantize, to_codes
from golf.compress.sensitivity import Sensitivity
from golf.errors import DamagedFile


def weights(M, N, *, rank=0, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(M, N)) * 0.05
    return (noise + 0.3 * rng.normal(size=(M, rank)) @ rng.normal(size=(rank, N))).astype(np.float32)


def sensitivity(M, N, *, seed=1, spread=1.0):
    rng = np.random.default_rng(seed)
    return Sensitivity(np.exp(spread * rng.normal(size=M)), np.exp(spread * rng.normal(size=N)))


def there_and_back(coded):
    sections = pack_matrix(coded, coder="best")
    return unpack_matrix(
        coded.name,
        coded.shape,
        coded.factors.rank,
        step=coded.step,
        factor_step=coded.factors.base,
        sections=sections,
    )


def digest(coded):
    sha = hashlib.sha256()
    update_digest(coded, sha.update)
    return sha.hexdigest()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
    st.floats(1e-4, 3),
    st.sampled_from(["auto", "off", "only"]),
    st.integers(0, 10**6),
)
def test_coding_is_exact_on_integers_and_weights(M, N, rank, scale, low_rank, seed):
    prepared = prepare_matrix("w", weights(M, N, rank=rank, seed=seed), sensitivity(M, N), low_rank=low_rank)
    coded = code_matrix(prepared, scale, low_rank=low_rank)
    decoded = there_and_back(coded)
    assert digest(decoded) == digest(coded)
    assert np.array_equal(decode_matrix(decoded), decode_matrix(coded))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-3, 1), st.sampled_from(["auto", "off"]), st.integers(0, 99))
def test_no_weight_is_further_off_than_half_its_step(M, N, scale, low_rank, seed):
    matrix = weights(M, N, rank=2, seed=seed)
    prepared = prepare_matrix("w", matrix, sensitivity(M, N), low_rank=low_rank)
    coded = code_matrix(prepared, scale, low_rank=low_rank)
    steps = coded.steps.relative() * coded.step
    # the residual is taken against the decoded factors, so they add no error; float32 leaves some ulps of the weight
    assert (np.abs(decode_matrix(coded) - matrix) <= steps * 0.5001 + 4e-6 * np.abs(matrix).max()).all()


def test_predicted_distortion_is_that_of_the_steps_at_high_rate():
    prepared = prepare_matrix("w", weights(200, 300), sensitivity(200, 300), low_rank="off")
    coded = code_matrix(prepared, 0.01, low_rank="off")
    # n · c² / 24, up to the rounding of the steps to quarter octaves
    assert distortion(prepared, coded, 0.01) == pytest.approx(200 * 300 * 0.01**2 / 24, rel=0.05)


def test_distortion_equals_the_loss_formula_on_the_decoded_weights():
    matrix, F = weights(30, 20), sensitivity(30, 20)
    prepared = prepare_matrix("w", matrix, F, low_rank="off")
    coded = code_matrix(prepared, 0.2, low_rank="off")
    error = decode_matrix(coded).astype(np.float64) - matrix
    exact = 0.5 * (np.outer(F.rows, F.columns) * error**2).sum()
    assert distortion(prepared, coded, 0.2) == pytest.approx(exact, rel=1e-3)


def test_sensitive_rows_and_columns_get_finer_steps():
    rows, columns = np.array([1.0, 16.0]), np.array([1.0, 4.0, 64.0])
    prepared = prepare_matrix("w", weights(2, 3), Sensitivity(rows, columns), low_rank="off")
    steps = prepared.steps.relative() * prepared.base
    assert np.allclose(steps, 1 / np.sqrt(np.outer(rows, columns)))  # powers of two are exact codes


def test_a_dominant_direction_becomes_a_factor_and_white_noise_does_not():
    plain = prepare_matrix("w", weights(96, 64), sensitivity(96, 64, spread=0), low_rank="auto")
    spiked = prepare_matrix("w", weights(96, 64, rank=2), sensitivity(96, 64, spread=0), low_rank="auto")
    assert code_matrix(plain, 0.02, low_rank="auto").factors.rank == 0
    assert code_matrix(spiked, 0.02, low_rank="auto").factors.rank == 2


def test_factors_that_are_chosen_save_bytes_at_no_more_distortion():
    matrix, F = weights(128, 96, rank=3), sensitivity(128, 96)
    sizes, costs = {}, {}
    for low_rank in ("auto", "off"):
        prepared = prepare_matrix("w", matrix, F, low_rank=low_rank)
        coded = code_matrix(prepared, 0.05, low_rank=low_rank)
        sizes[low_rank] = sum(len(p) for _, _, p in pack_matrix(coded, coder="best").values())
        costs[low_rank] = distortion(prepared, coded, 0.05)
    assert sizes["auto"] < 0.8 * sizes["off"]
    assert costs["auto"] == pytest.approx(costs["off"], rel=0.1)


def test_the_rank_is_the_least_cost_and_not_all_of_it():
    """A flat spectrum never pays, however many terms would make the residual vanish."""
    assert choose_rank(np.full(64, 50.0, dtype=np.float32), (64, 64), "auto") == 0
    assert choose_rank(np.full(64, 50.0, dtype=np.float32), (64, 64), "only") == 64
    assert choose_rank(np.full(64, 50.0, dtype=np.float32), (64, 64), "off") == 0


def test_both_ends_are_reachable():
    matrix, F = weights(48, 32, rank=2), sensitivity(48, 32)
    pure = code_matrix(prepare_matrix("w", matrix, F, low_rank="only"), 0.3, low_rank="only")
    assert pure.residual is None
    assert set(pack_matrix(pure, coder="best")) == {"scales", "left", "right"}
    dense = code_matrix(prepare_matrix("w", matrix, F, low_rank="off"), 0.3, low_rank="off")
    assert set(pack_matrix(dense, coder="best")) == {"scales", "residual"}


def test_an_endless_step_leaves_nothing():
    coded = code_matrix(prepare_matrix("w", weights(8, 8), sensitivity(8, 8), low_rank="auto"), 1e9, low_rank="auto")
    assert coded.residual is None
    assert not decode_matrix(coded).any()
    assert set(pack_matrix(coded, coder="best")) == {"scales"}


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((6, 5)), np.ones((6, 5)), np.full((6, 5), 1e-30), np.full((6, 5), 1e30), np.eye(6, 5), np.ones((1, 7))],
    ids=["zero", "constant", "tiny", "huge", "identity", "one row"],
)
@pytest.mark.parametrize("low_rank", ["auto", "off", "only"])
def test_odd_matrices_come_back_within_their_steps(matrix, low_rank):
    matrix = matrix.astype(np.float32)
    scale = 1e-3 * max(float(np.abs(matrix).max()), 1e-30)
    prepared = prepare_matrix("w", matrix, sensitivity(*matrix.shape, spread=0), low_rank=low_rank)
    coded = code_matrix(prepared, scale, low_rank=low_rank)
    off = np.abs(decode_matrix(there_and_back(coded)) - matrix).max()
    assert off <= 0.02 * np.abs(matrix).max()


def test_a_missing_section_and_a_scale_beyond_a_byte_are_refused_by_name():
    coded = code_matrix(
        prepare_matrix("w", weights(9, 7, rank=1), sensitivity(9, 7), low_rank="auto"), 0.05, low_rank="auto"
    )
    sections = pack_matrix(coded, coder="best")
    options = {"step": coded.step, "factor_step": coded.factors.base}
    with pytest.raises(DamagedFile, match="section w/left"):
        unpack_matrix("w", (9, 7), 1, sections={k: v for k, v in sections.items() if k != "left"}, **options)
    with pytest.raises(DamagedFile, match="section w/scales"):
        unpack_matrix("w", (9, 7), 5, sections=sections, **options)


def test_codes_round_steps_to_a_quarter_octave():
    steps = np.exp(np.random.default_rng(0).normal(size=200) * 3)
    base, codes = to_codes(steps)
    ratio = base * from_codes(codes) / steps
    assert np.abs(np.log2(ratio)).max() <= 0.5 / STEPS_PER_OCTAVE + 1e-9
    assert codes.min() == 0


def test_quantize_refuses_what_float32_could_not_bring_back():
    with pytest.raises(OverflowError):
        quantize(np.array([1e9], dtype=np.float32))
    assert dequantize(quantize(np.array([2.5, -1.4], dtype=np.float32))).tolist() == [2.0, -1.0]


def test_factors_at_a_fine_step_reproduce_the_product():
    matrix = weights(20, 12, rank=3)
    factors = factorize(spectrum(matrix), 1e-4, 12, "only")
    assert np.allclose(reconstruct(factors) * 1e-4, matrix, atol=2e-3 * np.abs(matrix).max())
