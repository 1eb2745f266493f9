import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.compress.context_coder import (
    CLASSES,
    COLUMN_SCALES,
    KNOWN,
    MAX_HIGH,
    RESIDUALS,
    ROW_SCALES,
    ROWS,
    SECOND_GRID,
    Histogram,
    Tables,
    context_scale_classes,
    fits,
    residual_classes,
    scale_classes,
)
from golf.compress.context_scales import ContextScales
from golf.compress.quantize import StepCodes
from golf.errors import DamagedFile

EVERY_CLASS = [k for k in range(CLASSES) if k <= COLUMN_SCALES or k >= SECOND_GRID]


def coded(symbols, classes):
    histogram = Histogram()
    histogram.add(symbols, classes)
    return histogram, Tables.to_bytes(histogram), Tables.of(histogram).encode(symbols, classes)


def gaussian_matrix(M, N, *, seed=0, deviation=1.0):
    """Symbols of equal weights under steps that differ by row and column, with their classes."""
    rng = np.random.default_rng(seed)
    steps = StepCodes(rng.integers(0, 8, M).astype(np.uint8), rng.integers(0, 8, N).astype(np.uint8))
    deviations = deviation * 4 / steps.relative()
    symbols = np.rint(rng.normal(size=(M, N)) * deviations).astype(np.int32).reshape(-1)
    scales = ContextScales.even(round(4 * np.log2(deviation * 4)), (M, N))
    return symbols, residual_classes(steps, scales).reshape(-1)


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(1e-3, 1e5), st.integers(0, 10**6))
def test_whatever_fits_comes_back(M, N, deviation, seed):
    symbols, classes = gaussian_matrix(M, N, seed=seed, deviation=deviation)
    if fits(symbols, classes):
        _, tables, payload = coded(symbols, classes)
        assert np.array_equal(Tables.from_bytes(tables, part="t").decode(payload, classes, part="x"), symbols)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(-MAX_HIGH, MAX_HIGH), st.sampled_from(EVERY_CLASS)), min_size=1, max_size=300))
def test_any_symbols_of_any_classes_come_back(pairs):
    symbols = np.array([value for value, _ in pairs], dtype=np.int32)
    classes = np.array([k for _, k in pairs], dtype=np.uint8)
    _, tables, payload = coded(symbols, classes)
    assert np.array_equal(
        Tables.from_bytes(tables, part="t", known=KNOWN[7]).decode(payload, classes, part="x"), symbols
    )


@pytest.mark.parametrize("deviation", [0.1, 0.3, 1.0, 4.0, 40.0])
def test_tables_and_coder_cost_at_most_half_a_percent_over_the_conditional_entropy(deviation):
    symbols, classes = gaussian_matrix(1500, 800, deviation=deviation)
    histogram, tables, payload = coded(symbols, classes)
    assert 8 * (len(tables) + len(payload)) <= 1.005 * histogram.ideal_bits()


def test_low_bits_as_uniform_ones_lose_next_to_nothing():
    """The ideal length with shifted classes, held against the entropy of each class's whole symbols."""
    symbols = np.rint(np.random.default_rng(0).normal(size=400_000) * 64).astype(np.int32)
    classes = np.full(symbols.size, 2 * (4 + 6), dtype=np.uint8)  # deviation 2^6
    histogram = Histogram()
    histogram.add(symbols, classes)
    gaussian = symbols.size * 0.5 * np.log2(2 * np.pi * np.e * 64**2)
    assert histogram.ideal_bits() == pytest.approx(gaussian, rel=5e-4)


def test_steps_that_differ_make_it_cheaper_than_one_histogram():
    symbols, classes = gaussian_matrix(400, 400)
    group_by_width = Histogram()
    group_by_width.add(symbols, np.zeros_like(classes))
    histogram, _, _ = coded(symbols, classes)
    assert histogram.ideal_bits() < 0.97 * group_by_width.ideal_bits()


def test_a_class_is_the_deviation_in_half_octaves():
    steps = StepCodes(np.array([0, 4], dtype=np.uint8), np.array([0, 2], dtype=np.uint8))
    assert residual_classes(steps, ContextScales.even(0, (2, 2))).tolist() == [[8, 7], [6, 5]]
    assert residual_classes(steps, ContextScales.even(-400, (2, 2))).max() == 0
    assert residual_classes(steps, ContextScales.even(4000, (2, 2))).min() == RESIDUALS - 1
    assert scale_classes(2, 1, 1).tolist() == [ROWS, ROWS, ROWS + 1, ROWS + 2]


def test_spreads_of_rows_and_columns_move_the_classes_of_their_symbols():
    steps = StepCodes(np.zeros(2, dtype=np.uint8), np.zeros(2, dtype=np.uint8))
    wider = ContextScales(0, np.array([0, 4], dtype=np.int8), np.array([0, -2], dtype=np.int8))
    assert residual_classes(steps, wider).tolist() == [[8, 7], [10, 9]]
    assert context_scale_classes(1, 2).tolist() == [ROW_SCALES, COLUMN_SCALES, COLUMN_SCALES]


@pytest.mark.parametrize(("version", "strange"), [(2, ROW_SCALES), (2, SECOND_GRID), (4, ROW_SCALES), (7, 61)])
def test_a_class_that_a_version_does_not_know_is_refused(version, strange):
    def tables(k):
        return struct.pack("<BhH", k, 0, 1) + bytes([0])

    assert Tables.from_bytes(tables(0), part="t", known=KNOWN[version])
    with pytest.raises(DamagedFile, match="no class"):
        Tables.from_bytes(tables(strange), part="t", known=KNOWN[version])


def test_what_is_too_far_out_is_said_not_to_fit():
    classes = np.zeros(2, dtype=np.uint8)
    assert fits(np.array([MAX_HIGH, -MAX_HIGH], dtype=np.int32), classes)
    assert not fits(np.array([0, MAX_HIGH + 1], dtype=np.int32), classes)
    assert not fits(np.array([0, -MAX_HIGH - 1], dtype=np.int32), classes)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.binary(max_size=40), st.integers(1, 50))
def test_noise_is_decoded_or_refused(table, payload, count):
    classes = np.arange(count, dtype=np.uint8) % CLASSES
    with suppress(DamagedFile):
        Tables.from_bytes(table, part="section tables").decode(payload, classes, part="section x")


@settings(max_examples=100)
@given(st.integers(0, 10**9))
def test_a_flipped_bit_never_gets_past_unnoticed_as_an_exception_of_another_kind(seed):
    symbols, classes = gaussian_matrix(20, 20)
    _, tables, payload = coded(symbols, classes)
    rng = np.random.default_rng(seed)
    for content, flips_tables in ((bytearray(tables), True), (bytearray(payload), False)):
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        with suppress(DamagedFile):
            read = Tables.from_bytes(bytes(content) if flips_tables else tables, part="t")
            read.decode(payload if flips_tables else bytes(content), classes, part="x")


@pytest.mark.parametrize(("k", "low"), [(61, 0), (63, 0), (120, 0), (55, 4096), (119, 4096), (0, 4097)])
def test_records_of_no_class_and_of_symbols_beyond_int32_are_refused(k, low):
    with pytest.raises(DamagedFile, match="record of no class"):
        Tables.from_bytes(struct.pack("<BhHB", k, low, 1, 0), part="t")
    assert Tables.from_bytes(struct.pack("<BhHB", 54, 4095, 1, 0), part="t")


def test_what_follows_the_last_symbol_is_refused():
    symbols, classes = gaussian_matrix(20, 20)
    _, tables, payload = coded(symbols, classes)
    with pytest.raises(DamagedFile, match="x: "):
        Tables.from_bytes(tables, part="t").decode(payload, classes[:-50], part="x")
    with pytest.raises(DamagedFile, match="whole number of words"):
        Tables.from_bytes(tables, part="t").decode(payload + b"1", classes, part="x")
    with pytest.raises(DamagedFile, match="no table"):
        Tables.from_bytes(b"", part="t").decode(payload, classes, part="x")
