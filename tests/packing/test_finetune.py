"""Tuning: the price that holds its bits, the room it fills, and what another step does to it."""

import statistics
from dataclasses import replace

import numpy as np
import pytest
from sources import draft_of, source_of

from golf.compress.encode_matrix import Tuned, code_matrices
from golf.compress.low_rank import no_factors
from golf.compress.rate_distortion import ideal_bits
from golf.compress.rate_search import ENDLESS
from golf.packing.finetune import _LEAST, _START, _Rate, tune
from golf.packing.inputs import TUNING
from golf.packing.search import _tuned
from golf.packing.timing import text_share
from golf.runtime.observer import Observer


@pytest.mark.usefixtures("in_the_workspace")
def test_tuning_holds_the_bits_of_rounding(trained):
    source = source_of(trained, "pack.quantizer=uniform", "pack.low_rank=off")
    draft, scale = draft_of(source), 0.001
    batches = list(source.windows(65_536, batch_tokens=512, purpose=TUNING))
    tuning = tune(source.model, draft.prepared, batches, count=len(batches), scale=scale, low_rank="off")
    before, after = (
        ideal_bits(code_matrices(prepared, scale, low_rank="off")) for prepared in (draft.prepared, tuning.prepared)
    )
    assert after == pytest.approx(before, rel=0.02)
    assert statistics.fmean(tuning.divergences[-8:]) < statistics.fmean(tuning.divergences[:8])


@pytest.mark.usefixtures("in_the_workspace")
def test_a_share_of_the_texts_own_loss_teaches_what_the_float_model_does_not_know(trained):
    """A model of 12 steps has much to learn: with the text it gets better than itself, without it does not."""
    source = source_of(trained, "pack.quantizer=uniform", "pack.low_rank=off", "pack.tune_batch_tokens=512")
    draft, scale = draft_of(source), 0.001
    losses = {}
    for share in (0.0, 0.5, 1.0):
        batches = source.windows(65_536, batch_tokens=512, purpose=TUNING)
        tuning = tune(source.model, draft.prepared, batches, count=128, scale=scale, low_rank="off", text_share=share)
        tuned = replace(draft, prepared=tuning.prepared, small=tuning.small)
        losses[share] = source.score(tuned.decoded(tuned.build(scale)[1])).loss
    assert losses[1.0] < losses[0.5] < source.score(source.model).loss - 0.01
    assert losses[0.5] < losses[0.0] - 0.01


@pytest.mark.usefixtures("in_the_workspace")
def test_text_that_was_read_too_often_teaches_nothing_more(trained):
    notes = []
    source = source_of(trained, "pack.quantizer=uniform", "pack.low_rank=off", "pack.tune_batch_tokens=512")
    source = replace(source, observer=Observer(note=notes.append))
    whole = len(source.data.train)
    assert text_share(replace(source, seen=3 * whole), whole) == 0.5
    worn = replace(source, seen=4 * whole)
    assert text_share(worn, 64) == 0.0
    draft = draft_of(source)
    _tuned(draft, source, 0.001, 512, 10_000)
    assert notes == []
    _tuned(draft, worn, 0.001, 512, 10_000)
    assert f"the {whole:,} tokens of training text are read 4." in notes[0]


class _Symbols:
    """Stands for the matrices of a tuning: so many zeros and ones."""

    def __init__(self, ones):
        self.ones = ones

    def count(self, histogram):
        symbols = np.zeros(4096, dtype=np.int32)
        symbols[: self.ones] = 1
        histogram.add(symbols, np.zeros(4096, dtype=np.int64))


def test_the_price_of_a_bit_rises_with_bits_over_what_is_wanted_and_falls_below_it():
    matrix = _Symbols(512)
    rate = _Rate([matrix], 1.0)
    rate.control()
    settled = rate.price
    assert settled == _START
    matrix.ones = 520
    rate.control()
    dearer = rate.price
    assert dearer > settled
    rate.control()  # bits that stay over cost more and more
    assert rate.price > dearer
    matrix.ones = 500
    rate.control()
    assert _LEAST <= rate.price < settled


@pytest.mark.parametrize("spare", [-40, 40])
def test_bytes_that_are_left_or_lacking_move_what_is_wanted(spare):
    rate = _Rate([_Symbols(512)], 1.0)
    rate.weighed(spare)
    rate.control()
    assert (rate.price < _START) == (spare > 0)
    wanted = _Rate([_Symbols(512)], 1.0)._bits() + 8 * spare
    assert rate._wanted == pytest.approx(wanted)


@pytest.mark.usefixtures("in_the_workspace")
@pytest.mark.parametrize(("text", "error"), [(0.0, 0.01), (0.5, 0.03)])
def test_tuning_fills_its_room(trained, text, error):
    """At its own step, before any fine adjustment; rounding at that step overruns it.

    A model of 12 steps learns so much from the text that its bits are harder to hold.
    """
    changed = ("pack.quantizer=uniform", "pack.low_rank=off", "pack.tune_batch_tokens=256", f"pack.tune_text={text}")
    source = source_of(trained, *changed)
    draft, scale = draft_of(source), 0.002
    size = draft.build(scale)[0]
    for share in (0.95, 0.97):
        tuned = _tuned(draft, source, scale, 32_768, round(share * size))
        assert tuned.build(scale)[0] == pytest.approx(share * size, rel=error)


def test_another_step_moves_where_tuned_targets_are_rounded_and_nothing_else():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(64, 96)).astype(np.float32)
    tuned = Tuned(targets, no_factors(64, 96), 0.5)
    assert np.array_equal(tuned.at(0.5), targets / np.float32(0.5))
    finer, coarser = (np.abs(np.rint(tuned.at(scale))) for scale in (0.45, 0.55))
    assert (finer >= np.abs(np.rint(tuned.at(0.5)))).all()
    assert (coarser <= np.abs(np.rint(tuned.at(0.5)))).all()
    assert not np.rint(tuned.at(ENDLESS)).any()
    pile = replace(tuned, targets=np.full((64, 96), 0.249995, dtype=np.float32))
    shares = [np.rint(pile.at(0.5 / (1 + 1e-5 * step))).mean() for step in range(9)]
    assert shares[0] == 0
    assert any(0.2 < share < 0.8 for share in shares)  # a pile crosses its boundary piece by piece
    assert shares[-1] == 1
