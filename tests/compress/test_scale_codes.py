"""All matrices' codes come back from one section, cost what they tell, and hostile bytes are refused."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from coding import code_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encode_matrix import fisher, weights

from golf.compress.context_scales import ContextScales
from golf.compress.decode_matrix import decode_matrix
from golf.compress.encode_matrix import calibrate_matrix
from golf.compress.entropy import ideal_bits
from golf.compress.quantize import StepCodes
from golf.compress.scale_codes import (
    DEAD,
    MatrixLayout,
    MatrixScales,
    pack_scales,
    plain_scales,
    split_scales,
    unpack_scales,
    without_dead,
)
from golf.errors import DamagedFile

codes = st.lists(st.integers(0, 255), min_size=1, max_size=30)


def scales(rows, columns, terms=(), contexts=None):
    """Codes of one matrix; context scales 0 unless given."""
    steps = StepCodes(np.array(rows, dtype=np.uint8), np.array(columns, dtype=np.uint8))
    given_contexts = contexts or (np.zeros(len(rows)), np.zeros(len(columns)))
    own = ContextScales(0, *(np.array(each, dtype=np.int8) for each in given_contexts))
    return MatrixScales(steps, np.array(terms, dtype=np.uint8), own)


def described(each, contextual):
    shape = len(each.steps.rows), len(each.steps.columns)
    return MatrixLayout(shape, len(each.terms), each.contexts.whole, contextual)


def same(first, second):
    pairs = (
        (first.steps.rows, second.steps.rows),
        (first.steps.columns, second.steps.columns),
        (first.terms, second.terms),
        (first.contexts.rows, second.contexts.rows),
        (first.contexts.columns, second.contexts.columns),
    )
    return all(np.array_equal(a, b) for a, b in pairs)


@given(
    st.lists(st.tuples(codes, codes, st.lists(st.integers(0, 255), max_size=5), st.booleans()), max_size=6), st.data()
)
@settings(max_examples=100, deadline=None)
def test_any_codes_come_back(given_codes, data):
    every = []
    for rows, columns, terms, contextual in given_codes:
        signed = st.integers(-126, 127)
        contexts = [data.draw(st.lists(signed, min_size=len(v), max_size=len(v))) for v in (rows, columns)]
        every.append(scales(rows, columns, terms, contexts if contextual else None))
    contextual = [each for *_, each in given_codes]
    known = [described(each, with_contexts) for each, with_contexts in zip(every, contextual, strict=True)]
    found = unpack_scales(pack_scales(every, contextual), known, part="scales")
    assert all(same(a, b) for a, b in zip(found, every, strict=True))


def test_a_dead_row_has_a_step_of_0_and_nothing_else_changes():
    matrix, F = weights(40, 30), fisher(40, 30)
    matrix[[3, 17]] = 0
    matrix[:, 5] = 0
    coded = code_matrix(calibrate_matrix("w", matrix, F), 0.002, low_rank="off")
    marked = without_dead(coded)
    assert np.flatnonzero(marked.context_scales.rows == DEAD).tolist() == [3, 17]
    assert np.flatnonzero(marked.context_scales.columns == DEAD).tolist() == [5]
    assert not marked.steps.rows[[3, 17]].any()
    assert np.array_equal(decode_matrix(marked), decode_matrix(coded))
    own = MatrixScales.of(marked)
    (found,) = unpack_scales(pack_scales([own], [True]), [described(own, True)], part="scales")
    assert same(found, own)


def test_a_matrix_without_symbols_has_no_steps_and_one_with_factors_keeps_them():
    coded = code_matrix(calibrate_matrix("w", weights(20, 20), fisher(20, 20)), 1e3, low_rank="off")
    assert coded.residual is None
    assert not without_dead(coded).steps.rows.any()
    factored = code_matrix(calibrate_matrix("w", weights(20, 20, rank=2), fisher(20, 20)), 0.3, low_rank="only")
    assert factored.factors.rank
    assert without_dead(factored) == factored


def test_steps_that_an_earlier_vector_predicts_cost_little():
    rng = np.random.default_rng(0)
    first, noise = rng.integers(0, 60, 256), rng.integers(0, 2, 256)
    alike = [scales([0], first), scales([0], first + noise)]
    unlike = [scales([0], first), scales([0], rng.integers(0, 60, 256))]
    sizes = [len(pack_scales(each, [False, False])) for each in (alike, unlike)]
    assert sizes[1] - sizes[0] > 256 * 3.5 / 8  # about 1 bit instead of about 5.9


def test_narrow_vectors_cost_their_own_entropy():
    """Sixteen matrices whose codes lie at different places: one histogram for all takes 6 bits a code, not 2."""
    rng = np.random.default_rng(1)
    every = [scales(rng.integers(5 * k, 5 * k + 4, 300), [0]) for k in range(16)]
    bits = sum(ideal_bits(each.steps.rows.astype(np.int32)) for each in every)
    assert 8 * len(pack_scales(every, [False] * 16)) < 1.2 * bits


def test_hostile_bytes_are_refused_or_give_codes_in_range():
    rng = random.Random(3)
    every = [scales(np.arange(40) % 7, np.arange(30) % 5, [1, 2]), scales(np.arange(40) % 9, np.arange(30) % 5)]
    payload, known = pack_scales(every, [True, True]), [described(each, True) for each in every]
    for _ in range(300):
        altered = bytearray(payload)
        for _ in range(rng.choice((1, 2, 8))):
            altered[rng.randrange(len(altered))] = rng.randrange(256)
        cut = bytes(altered[: rng.choice((None, None, 4, 7))])
        try:
            found = unpack_scales(cut, known, part="scales")
        except DamagedFile:
            continue
        assert all(len(each.steps.rows) == 40 and each.contexts.rows.min() >= DEAD for each in found)
    with pytest.raises(DamagedFile, match="whole number of words"):
        unpack_scales(payload[:-1], known, part="scales")


def test_the_plain_form_comes_back_without_context_scales():
    every = [scales([1, 2, 3], [4, 5], [6]), scales([7], [8, 9])]
    known = [described(each, False) for each in every]
    found = split_scales(plain_scales(every), known, part="scales")
    assert all(same(a, b) for a, b in zip(found, every, strict=True))
    with pytest.raises(DamagedFile, match="not a byte"):
        split_scales(plain_scales(every) + 300, known, part="scales")
    assert [replace(each, contextual=True).count for each in known] == [11, 6]
