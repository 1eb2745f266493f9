"""Spreads are chosen so that real symbols get short codes. The slow twin here asks for every code one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from coding import code_matrix
from test_context_scales import separable
from test_encode_matrix import fisher

from golf.compress import trellis
from golf.compress.context_coder import residual_classes
from golf.compress.context_scales import MOST_OFFSET, ContextScales
from golf.compress.context_search import Costs, code_lengths, offset_counts, search_context_scales
from golf.compress.encode_matrix import calibrate_matrix
from golf.compress.matrix_sections import pack_matrices


def matrix(M, N, *, seed=0, scale=0.5, states=0, wide=6):
    rng = np.random.default_rng(seed)
    weights = separable(rng.integers(-wide, wide + 1, M), rng.integers(-wide, wide + 1, N), seed=seed)
    given = calibrate_matrix(f"w{seed}", weights, fisher(M, N, correlation=0.3), states=states)
    return code_matrix(given, scale, low_rank="off")


def file_size(matrices):
    """Bytes of all sections, with the tables that they share."""
    packed = pack_matrices(matrices, coder="best")
    return sum(len(payload) for parts in [packed.shared, *packed.own] for _, _, payload in parts.values())


def even(coded):
    return replace(coded, context_scales=ContextScales.even(coded.context_scales.whole, coded.shape))


@pytest.mark.parametrize("states", [0, trellis.STATES])
@pytest.mark.parametrize("scale", [0.2, 0.8, 2.0])
def test_a_file_with_refined_spreads_is_smaller_than_with_even_ones_or_the_weights_own(scale, states):
    coded = matrix(150, 200, scale=scale, states=states)
    (found,) = search_context_scales([coded])
    assert file_size([found]) < 0.97 * file_size([even(coded)])
    assert file_size([found]) < file_size([coded])


@pytest.mark.parametrize(("count", "size", "wide", "scale"), [(1, 20, 3, 0.1), (4, 48, 1, 0.5), (12, 48, 1, 0.5)])
def test_no_file_is_larger_for_it_than_by_a_word_a_matrix(count, size, wide, scale):
    """Small matrices, where codes and tables of spreads cost what they save."""
    given = [matrix(size, size, seed=seed, wide=wide, scale=scale) for seed in range(count)]
    assert file_size(search_context_scales(given)) <= file_size([even(each) for each in given]) + 4 * count


def test_symbols_stay_as_they_are():
    coded = matrix(30, 40)
    (found,) = search_context_scales([coded])
    assert replace(found, context_scales=coded.context_scales) == coded


def test_where_spreads_do_not_pay_they_are_even():
    (found,) = search_context_scales([matrix(12, 9, wide=0)])
    assert not found.context_scales.rows.any()
    assert not found.context_scales.columns.any()


def test_matrices_without_a_residual_and_with_huge_symbols_keep_what_they_have():
    coded = matrix(20, 30)
    missing, huge = replace(coded, residual=None), matrix(20, 30, seed=1, scale=1e-3)
    assert np.abs(huge.residual).max() > 255
    assert [each.context_scales for each in search_context_scales([missing, huge])] == [
        missing.context_scales,
        huge.context_scales,
    ]
    assert search_context_scales([]) == []


@pytest.mark.parametrize("states", [0, trellis.STATES])
@pytest.mark.parametrize("axis", [0, 1])
def test_one_round_takes_for_every_code_the_best_near_it(axis, states):
    given = [matrix(14, 11, states=states), matrix(9, 16, seed=1, states=states)]
    scales_by_name = {each.name: each.context_scales for each in given}
    costs = Costs(given)
    lengths = code_lengths(costs.counts(scales_by_name))
    prices = code_lengths(offset_counts(scales_by_name, axis))[0]
    moved = costs.moved(scales_by_name, axis)
    for coded in given:
        grids = 64 * trellis.of(states).grids(coded.residual) if states else np.zeros(coded.shape, dtype=int)
        for place in range(coded.shape[axis]):
            bits = {}
            for move in (-2, -1, 0, 1, 2):
                codes = [coded.context_scales.rows.copy(), coded.context_scales.columns.copy()]
                codes[axis][place] += move
                if abs(codes[axis][place]) > MOST_OFFSET:
                    continue
                classes = residual_classes(coded.steps, ContextScales(coded.context_scales.whole, *codes)) + grids
                line = np.s_[place, :] if axis == 0 else np.s_[:, place]
                code = int(codes[axis][place])
                bits[code] = prices[code + MOST_OFFSET] + sum(
                    lengths[k, z + costs.most] for k, z in zip(classes[line], coded.residual[line], strict=True)
                )
            found = moved[coded.name]
            chosen = (found.columns if axis else found.rows)[place]
            assert bits[int(chosen)] == pytest.approx(min(bits.values()), abs=1e-3)


def test_the_same_spreads_on_one_thread_and_two():
    given, before = [matrix(40, 50, seed=seed) for seed in range(4)], torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(search_context_scales(given))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert np.array_equal(one.context_scales.rows, two.context_scales.rows)
        assert np.array_equal(one.context_scales.columns, two.context_scales.columns)
