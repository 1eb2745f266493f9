"""Batches: each window once an epoch, and nothing to remember but the step."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.data import Batches, TokenStream
from golf.data.batches import Permutation
from golf.errors import DataError


def counting(length: int) -> TokenStream:
    """A stream whose tokens are their own positions."""
    return TokenStream([np.arange(length, dtype=np.uint16)], vocab_size=65536)


def batches(length: int, *, rows: int = 3, T: int = 8, seed: int = 0) -> Batches:
    return Batches(counting(length), batch_tokens=rows * T, sequence_length=T, seed=seed)


def key(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


@given(st.integers(1, 3000), st.integers(0, 255))
def test_a_permutation_is_a_bijection(size, number):
    images = Permutation(size, key=key(number))(np.arange(size))
    assert images.dtype == np.int64
    assert sorted(images.tolist()) == list(range(size))


def test_a_huge_permutation_takes_no_memory_and_stays_inside():
    size = 10**10 + 7
    images = Permutation(size, key=key(1))(np.arange(size - 1000, size))
    assert len(set(images.tolist())) == 1000
    assert 0 <= images.min() and images.max() < size
    # a uniform mean lies within 4 standard deviations of the middle: 4 / sqrt(12 * 1000) = 0.037
    assert abs(images.mean() / size - 0.5) < 0.037


@pytest.mark.parametrize("size", [0, (1 << 62) + 1])
def test_a_permutation_of_an_unsupported_size_is_refused(size):
    with pytest.raises(ValueError, match="not supported"):
        Permutation(size, key=key(0))


@pytest.mark.parametrize("size", [2, 3, 5, 16])
def test_every_number_goes_everywhere_equally_often(size):
    """χ² over where 0 lands, for 600 keys; its mean is size-1, and 1 in 10,000 exceed the bound (Wilson-Hilferty)."""
    keys = [hashlib.sha256(str(i).encode()).digest() for i in range(600)]
    landed = np.bincount([int(Permutation(size, key=k)(np.array([0]))[0]) for k in keys], minlength=size)
    expected = 600 / size
    freedom = size - 1
    bound = freedom * (1 - 2 / (9 * freedom) + 3.72 * (2 / (9 * freedom)) ** 0.5) ** 3
    assert ((landed - expected) ** 2 / expected).sum() < bound


def test_a_batch_is_windows_of_the_stream():
    batch = batches(1000).batch(0)
    assert batch.shape == (3, 9)
    assert batch.dtype == np.int64
    assert (np.diff(batch, axis=1) == 1).all()


@given(st.integers(9, 400), st.integers(1, 9), st.integers(2, 9), st.integers(0, 9))
@settings(max_examples=25)
def test_each_epoch_takes_each_window_once(length, rows, T, seed):
    if length < T + 1:
        length = T + 1
    source = batches(length, rows=rows, T=T, seed=seed)
    windows = source.windows_per_epoch
    starts = np.concatenate([source.batch(step)[:, 0] for step in range(-(-3 * windows // rows))])
    for epoch in range(3):
        taken = np.sort(starts[epoch * windows : (epoch + 1) * windows])
        assert (np.diff(taken) == T).all()
        assert taken[0] < T
        # no more is left out at the end than an offset below T and a remainder below T can cause
        assert length - (taken[-1] + T + 1) < 2 * T


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8))
@settings(max_examples=40)
def test_the_step_is_the_whole_cursor(steps):
    """Any order of asking, in a fresh object or a used one, gives the same batches."""
    used = batches(333)
    for step in steps:
        assert (used.batch(step) == batches(333).batch(step)).all()


def test_epochs_and_seeds_differ_in_order_and_offset():
    source = batches(4001, rows=500)
    first, second = source.batch(0)[:, 0], source.batch(1)[:, 0]
    assert source.windows_per_epoch == 499
    assert first.tolist() != second.tolist()
    offsets = {int(batches(4001, seed=seed).batch(0)[0, 0]) % 8 for seed in range(60)}
    assert offsets == set(range(8))


def test_the_order_is_fixed_for_ever():
    """A resumed run must see what the interrupted one would have seen, also after an update of golf."""
    assert batches(1000).batch(0)[:, 0].tolist() == [314, 418, 122]
    assert batches(1000, seed=7).batch(10**6)[:, 0].tolist() == [335, 695, 495]


def test_a_stream_shorter_than_a_window_says_what_to_do():
    assert batches(9).batch(5).shape == (3, 9)
    with pytest.raises(DataError, match=r"has 8 tokens and one window needs 9.*smaller train\.sequence_length"):
        batches(8)


def test_rows_are_whole():
    with pytest.raises(ValueError, match="not a multiple"):
        Batches(counting(100), batch_tokens=9, sequence_length=8, seed=0)
