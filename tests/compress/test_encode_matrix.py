import hashlib
from dataclasses import replace

import numpy as np
import pytest
from coding import code_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.artifact import decompress_zstd
from golf.compress import entropy, trellis
from golf.compress.context_coder import Tables
from golf.compress.context_scales import ContextScales
from golf.compress.decode_matrix import decode_matrix, update_digest
from golf.compress.encode_matrix import (
    FineTunedTargets,
    calibrate_matrix,
    distortion,
    group_by_width,
    quantize_matrices,
    round_matrices,
)
from golf.compress.fisher import Fisher
from golf.compress.low_rank import choose_rank, factorize, reconstruct, spectrum
from golf.compress.matrix_sections import own_scales, pack_matrices, unpack_all_scales, unpack_matrix
from golf.compress.quantize import STEPS_PER_OCTAVE, dequantize, from_codes, quantize, to_codes
from golf.compress.scale_codes import MatrixLayout, MatrixScales
from golf.errors import DamagedFile

STATES = (0, trellis.STATES)


def weights(M, N, *, rank=0, seed=0):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(M, N)) * 0.05
    return (noise + 0.3 * rng.normal(size=(M, rank)) @ rng.normal(size=(rank, N))).astype(np.float32)


def fisher(M, N, *, seed=1, correlation=1.0):
    """Rows of differing weight, and a metric whose columns differ and depend on one another."""
    rng = np.random.default_rng(seed)
    columns = np.exp(correlation * rng.normal(size=N))
    mixed = rng.normal(size=(4 * N + 8, N)) @ (np.eye(N) + 0.3 * correlation * rng.normal(size=(N, N)) / np.sqrt(N))
    metric = (mixed * columns).T @ (mixed * columns)
    metric = metric / (np.trace(metric) / N) + 0.01 * np.eye(N)
    return Fisher(np.exp(correlation * rng.normal(size=M)), metric)


def pack_one(coded, coder="best"):
    """Its tables, the section of its scales, and its own sections."""
    packed = pack_matrices([coded], coder=coder)
    (own,), tables = packed.own, packed.shared.get("tables")
    content = None if tables is None else decompress_zstd(tables[2], expected_size=tables[1], part="tables")
    return None if content is None else Tables.from_bytes(content, part="tables"), packed.shared["scales"], own


def size_of(coded):
    _, scales, own = pack_one(coded)
    return sum(len(payload) for _, _, payload in [scales, *own.values()])


def there_and_back(coded, coder="best"):
    tables, packed_scales, sections = pack_one(coded, coder)
    described = MatrixLayout.of(coded, sections.get("residual", ("",))[0] == "conditional")
    (scales,) = unpack_all_scales([described], *packed_scales)
    return unpack_matrix(
        coded.name,
        coded.shape,
        coded.factors.rank,
        step=coded.step,
        factor_step=coded.factors.base,
        states=coded.states,
        scales=scales,
        sections=sections,
        tables=tables,
    )


def plain_spectrum(matrix):
    """Terms where all rows and columns matter equally."""
    M, N = matrix.shape
    return spectrum(matrix.astype(np.float32), np.ones(M), np.ones(N), np.eye(N))


def digest(coded):
    sha = hashlib.sha256()
    update_digest(coded, sha.update)
    return sha.hexdigest()


@settings(max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 3),
    st.floats(1e-4, 3),
    st.sampled_from(["auto", "off", "only"]),
    st.sampled_from(STATES),
    st.integers(0, 10**6),
)
def test_coding_is_exact_on_integers_and_weights(M, N, rank, scale, low_rank, states, seed):
    matrix, F = weights(M, N, rank=rank, seed=seed), fisher(M, N)
    coded = code_matrix(calibrate_matrix("w", matrix, F, states=states), scale, low_rank=low_rank)
    for coder in ("best", "zstd"):
        decoded = there_and_back(coded, coder)
        assert digest(decoded) == digest(coded)
        assert np.array_equal(decode_matrix(decoded), decode_matrix(coded))


def test_spreads_come_back_where_anything_is_coded_under_them():
    coded = code_matrix(calibrate_matrix("w", weights(30, 40), fisher(30, 40)), 0.05, low_rank="off")
    odd = ContextScales(
        coded.context_scales.whole,
        *(codes + np.int8(3) for codes in (coded.context_scales.rows, coded.context_scales.columns)),
    )
    read = there_and_back(replace(coded, context_scales=odd)).context_scales
    assert read.whole == odd.whole
    assert np.array_equal(read.rows, odd.rows)
    assert np.array_equal(read.columns, odd.columns)
    assert not there_and_back(coded, "zstd").context_scales.rows.any()
    wild = replace(odd, rows=np.full(30, -128, dtype=np.int8))
    with pytest.raises(DamagedFile, match="section scales: a code is not within -127 to 127"):
        there_and_back(replace(coded, context_scales=wild))


@pytest.mark.parametrize("code", [128, -128, 2**31 - 1, -(2**31)])
def test_a_spread_that_is_no_signed_byte_is_refused_whatever_coded_it(code):
    coded = code_matrix(calibrate_matrix("w", weights(9, 7), fisher(9, 7)), 0.05, low_rank="off")
    forged = np.concatenate((coded.steps.rows, coded.steps.columns, np.zeros(16))).astype(np.int32)
    forged[-1] = code
    sections = {"scales": entropy.encode(forged, coder="zstd")}
    with pytest.raises(DamagedFile, match="section w/scales: a context scale is out of range"):
        own_scales("w", MatrixLayout((9, 7), 0, 0, contextual=True), sections, None)


def test_the_number_of_states_is_part_of_what_an_artifact_means():
    matrix, F = weights(9, 7), fisher(9, 7)
    coded = code_matrix(calibrate_matrix("w", matrix, F, states=8), 0.05, low_rank="off")
    assert digest(replace(coded, states=4)) != digest(coded)
    options = {"step": 1.0, "factor_step": 1.0, "sections": {}, "tables": None, "scales": MatrixScales.of(coded)}
    with pytest.raises(DamagedFile, match="trellis of 5 states"):
        unpack_matrix("w", (9, 7), 0, states=5, **options)


@settings(max_examples=40)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(1e-3, 1),
    st.sampled_from(["auto", "off"]),
    st.sampled_from(STATES),
    st.integers(0, 99),
)
def test_no_weighted_error_is_more_than_its_step_promises(M, N, scale, low_rank, states, seed):
    """With H = C Cᵀ every entry of diag(√g) E C is what one rounding left: the steps promise |entry| ≤ c / 2.

    On a trellis's grids neighbours of one parity are 4 fine steps apart at most, and a path may take the worse of its
    state's two parities to end better: no entry is off by more than 2 of them.
    """
    matrix, F = weights(M, N, rank=2, seed=seed), fisher(M, N, seed=seed)
    prepared = calibrate_matrix("w", matrix, F, states=states)
    coded = code_matrix(prepared, scale, low_rank=low_rank)
    most = 2 * prepared.unit(scale) if states else 0.5 * scale
    error = decode_matrix(coded).astype(np.float64) - matrix
    weighted = np.sqrt(F.rows)[:, None] * (error @ np.linalg.cholesky(F.metric))
    # codes round the steps to a quarter octave, 2^(1/8) each way for rows and for columns; float32 leaves some ulps
    slack = 1e-5 * np.abs(matrix).max() * np.sqrt(F.rows.max() * np.linalg.eigvalsh(F.metric).max() * N)
    assert (np.abs(weighted) <= most * 2**0.25 * 1.0001 + slack).all()


def test_predicted_distortion_is_that_of_the_steps_at_high_rate():
    prepared = calibrate_matrix("w", weights(200, 300), fisher(200, 300))
    coded = code_matrix(prepared, 0.01, low_rank="off")
    # n · c² / 24, up to the rounding of the steps to quarter octaves
    assert distortion(prepared, coded, 0.01) == pytest.approx(200 * 300 * 0.01**2 / 24, rel=0.05)


def test_distortion_equals_the_loss_formula_on_the_decoded_weights():
    matrix, F = weights(30, 20), fisher(30, 20)
    prepared = calibrate_matrix("w", matrix, F)
    coded = code_matrix(prepared, 0.2, low_rank="off")
    error = decode_matrix(coded).astype(np.float64) - matrix
    exact = 0.5 * sum(g * e @ F.metric @ e for g, e in zip(F.rows, error, strict=True))
    assert distortion(prepared, coded, 0.2) == pytest.approx(exact, rel=1e-3)


def test_sensitive_rows_and_columns_get_finer_steps():
    rows, columns = np.array([1.0, 16.0]), np.array([1.0, 4.0, 64.0])
    prepared = calibrate_matrix("w", weights(2, 3), Fisher(rows, np.diag(columns)))
    steps = prepared.steps.relative() * prepared.base
    assert np.allclose(steps, 1 / np.sqrt(np.outer(rows, columns)))  # powers of two are exact codes


def test_feedback_makes_the_same_bytes_cost_less():
    matrix, F = weights(120, 80), fisher(120, 80)
    prepared = calibrate_matrix("w", matrix, F)
    coded = code_matrix(prepared, 0.03, low_rank="off")
    nearest = replace(coded, residual=quantize(prepared.scaled / np.float32(0.03)))
    assert size_of(coded) <= 1.05 * size_of(nearest)
    assert distortion(prepared, coded, 0.03) < 0.9 * distortion(prepared, nearest, 0.03)


def test_a_matrix_is_decomposed_once_and_only_where_factors_are_asked_for(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return spectrum(*arguments)

    monkeypatch.setattr("golf.compress.encode_matrix.spectrum", counted)
    calibrated = calibrate_matrix("w", weights(40, 30, rank=2), fisher(40, 30))
    code_matrix(calibrated, 0.05, low_rank="off")
    assert not calls
    for states in (0, 8):
        for scale in (0.05, 0.04):
            assert code_matrix(replace(calibrated, states=states), scale, low_rank="auto").factors.rank
    assert len(calls) == 1


def test_a_tuned_matrix_is_rounded_from_its_targets_and_keeps_its_factors():
    prepared = calibrate_matrix("w", weights(40, 30, rank=2), fisher(40, 30))
    (rounding,) = round_matrices([prepared], 0.05, low_rank="auto")
    factors, targets = rounding.factors, rounding.targets
    assert factors.rank
    tuned = replace(prepared, tuned=FineTunedTargets(targets * np.float32(0.05), np.ones_like(targets), factors, 0.05))
    assert np.allclose(
        decode_matrix(code_matrix(tuned, 0.05, low_rank="auto")),
        decode_matrix(code_matrix(prepared, 0.05, low_rank="auto")),
        atol=1e-6,
    )
    # another step moves where targets are rounded, and neither what symbols stand for nor the factors
    finer = code_matrix(tuned, 0.04, low_rank="auto")
    assert finer.step == code_matrix(tuned, 0.05, low_rank="auto").step
    assert np.array_equal(reconstruct(finer.factors), reconstruct(factors))
    assert np.abs(finer.residual).sum() > np.abs(np.rint(targets)).sum()


@pytest.mark.parametrize("low_rank", ["auto", "off"])
def test_matrices_side_by_side_are_rounded_as_each_alone(low_rank):
    shapes = [(5, 40), (300, 40), (129, 40), (7, 12)]
    every = [
        calibrate_matrix(f"w{i}", weights(M, N, rank=2, seed=i), fisher(M, N, seed=i), states=8)
        for i, (M, N) in enumerate(shapes)
    ]
    plain = calibrate_matrix("plain", weights(5, 40), fisher(5, 40))
    groups = group_by_width([*every, plain])
    assert [[each.name for each in group] for group in groups] == [["w0", "w1", "w2"], ["w3"], ["plain"]]
    for group in groups:
        side_by_side = quantize_matrices(group, 0.03, low_rank=low_rank)
        alone = [code_matrix(each, 0.03, low_rank=low_rank) for each in group]
        assert [digest(coded) for coded in side_by_side] == [digest(coded) for coded in alone]


@pytest.mark.parametrize("states", STATES)
def test_at_the_least_step_no_symbol_overflows_and_below_it_one_does(states):
    matrix = weights(64, 48)
    matrix[3, 5] = 1e6
    prepared = calibrate_matrix("w", matrix, fisher(64, 48, correlation=0), states=states)
    least = prepared.least_scale()
    assert np.isfinite(decode_matrix(code_matrix(prepared, least, low_rank="off"))).all()
    with pytest.raises(OverflowError):
        code_matrix(prepared, least / 2, low_rank="off")


def test_ties_are_rounded_side_by_side_as_alone():
    """Targets on quarters have many paths of one cost; feedback must belong to the symbols that are written."""
    rng = np.random.default_rng(0)
    matrices = [(rng.integers(-9, 10, (M, 4)) / 4).astype(np.float32) for M in (3, 200, 130)]
    flat = Fisher(np.ones(1), np.eye(4))
    every = [
        calibrate_matrix(f"w{i}", matrix, replace(flat, rows=np.ones(len(matrix))), states=8)
        for i, matrix in enumerate(matrices)
    ]
    scale = 1 / trellis.GRAIN
    for coded, rounding in zip(
        quantize_matrices(every, scale, low_rank="off"), round_matrices(every, scale, low_rank="off"), strict=True
    ):
        assert np.array_equal(trellis.Trellis().values(coded.residual), rounding.values)


def test_a_trellis_costs_less_than_rounding_at_the_same_bytes():
    """By the slope at high rates, 6 dB a bit: at least .6 dB of the 1.53 that there are to win, tables and all."""
    matrix, F = weights(400, 300), fisher(400, 300, correlation=0.3)
    found = {}
    for states in STATES:
        prepared = calibrate_matrix("w", matrix, F, states=states)
        coded = code_matrix(prepared, 0.03, low_rank="off")
        found[states] = 8 * size_of(coded) / matrix.size, distortion(prepared, coded, 0.03)
    (bits, cost), (trellis_bits, trellis_cost) = found[0], found[8]
    assert trellis_cost * 4 ** (trellis_bits - bits) < 10**-0.06 * cost


def test_a_dominant_direction_becomes_a_factor_and_white_noise_does_not():
    plain = calibrate_matrix("w", weights(96, 64), fisher(96, 64, correlation=0))
    spiked = calibrate_matrix("w", weights(96, 64, rank=2), fisher(96, 64, correlation=0))
    assert code_matrix(plain, 0.02, low_rank="auto").factors.rank == 0
    assert code_matrix(spiked, 0.02, low_rank="auto").factors.rank == 2


def test_factors_that_are_chosen_save_bytes_at_no_more_distortion():
    matrix, F = weights(128, 96, rank=3), fisher(128, 96)
    sizes, costs = {}, {}
    for low_rank in ("auto", "off"):
        prepared = calibrate_matrix("w", matrix, F)
        coded = code_matrix(prepared, 0.05, low_rank=low_rank)
        sizes[low_rank] = size_of(coded)
        costs[low_rank] = distortion(prepared, coded, 0.05)
    assert sizes["auto"] < 0.8 * sizes["off"]
    assert costs["auto"] <= 1.1 * costs["off"]


def test_the_rank_is_the_least_cost_and_not_all_of_it():
    """A flat spectrum never pays, however many terms would make the residual vanish."""
    flat = plain_spectrum(50 * np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))[0])
    assert choose_rank(flat, 1.0, "auto") == 0
    assert choose_rank(flat, 1.0, "only") == 64
    assert choose_rank(flat, 1.0, "off") == 0


def test_both_ends_are_reachable():
    matrix, F = weights(48, 32, rank=2), fisher(48, 32)
    pure = code_matrix(calibrate_matrix("w", matrix, F), 0.3, low_rank="only")
    assert pure.residual is None
    assert set(pack_one(pure)[2]) == {"left", "right"}
    dense = code_matrix(calibrate_matrix("w", matrix, F), 0.3, low_rank="off")
    assert set(pack_one(dense)[2]) == {"residual"}


def test_an_endless_step_leaves_nothing():
    coded = code_matrix(calibrate_matrix("w", weights(8, 8), fisher(8, 8)), 1e9, low_rank="auto")
    assert coded.residual is None
    assert not decode_matrix(coded).any()
    assert not pack_one(coded)[2]


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((6, 5)),
        np.ones((6, 5)),
        np.full((6, 5), 1e-30),
        np.full((6, 5), 1e30),
        np.eye(6, 5),
        np.ones((1, 7)),
        np.repeat(np.arange(15.0).reshape(3, 5), 3, axis=0),
        np.full((6, 5), 7e4),  # beyond float16
    ],
    ids=["zero", "constant", "tiny", "huge", "identity", "one row", "duplicate rows", "beyond float16"],
)
@pytest.mark.parametrize("low_rank", ["auto", "off", "only"])
@pytest.mark.parametrize("states", STATES)
def test_odd_matrices_come_back_within_their_steps(matrix, low_rank, states):
    matrix = matrix.astype(np.float32)
    scale = 1e-3 * max(float(np.abs(matrix).max()), 1e-30)
    F = fisher(*matrix.shape, correlation=0)
    coded = code_matrix(calibrate_matrix("w", matrix, F, states=states), scale, low_rank=low_rank)
    off = np.abs(decode_matrix(there_and_back(coded)) - matrix).max()
    assert off <= 0.02 * np.abs(matrix).max()


def test_a_missing_section_and_a_scale_beyond_a_byte_are_refused_by_name():
    coded = code_matrix(calibrate_matrix("w", weights(9, 7, rank=1), fisher(9, 7)), 0.05, low_rank="auto")
    tables, packed_scales, sections = pack_one(coded)
    options = {"step": coded.step, "factor_step": coded.factors.base, "scales": MatrixScales.of(coded)}
    options |= {"states": 0, "tables": tables}
    with pytest.raises(DamagedFile, match="section w/left"):
        unpack_matrix("w", (9, 7), 1, sections={k: v for k, v in sections.items() if k != "left"}, **options)
    with pytest.raises(DamagedFile, match="section scales"):
        unpack_all_scales([MatrixLayout((9, 7), 5, 0, contextual=True)], *packed_scales)
    with pytest.raises(DamagedFile, match="section w/scales: is missing"):
        own_scales("w", MatrixLayout((9, 7), 1, 0, contextual=True), sections, tables)


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
    factors = factorize(plain_spectrum(matrix), 1e-4, 12, "only", feedback=np.eye(12, dtype=np.float32))
    assert np.allclose(reconstruct(factors) * 1e-4, matrix, atol=2e-3 * np.abs(matrix).max())


def test_tables_that_nothing_uses_are_not_written():
    coded = code_matrix(calibrate_matrix("w", weights(8, 8), fisher(8, 8)), 0.05, low_rank="off")
    assert pack_matrices([coded], coder="best").shared.keys() == {"scales", "tables"}
    assert pack_matrices([coded], coder="zstd").shared.keys() == {"scales"}
    assert pack_matrices([], coder="best").shared.keys() == {"scales"}
    assert digest(there_and_back(coded, "zstd")) == digest(coded)
