"""Tuning: the price and the projection that hold its bits, the budget it fills, and what another step does to it."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
import torch
from sources import encoder_of, having, opened, validation

from golf.compress.encode_matrix import ROUNDING, FineTunedTargets, shrinkage
from golf.compress.low_rank import no_factors
from golf.compress.rate_search import ENDLESS, Solution, bit_price
from golf.packing.finetune import finetune
from golf.packing.finetune_to_budget import AIM_BELOW, fine_tuner
from golf.packing.methods import Method, Methods
from golf.packing.rate_control import EXACT, LEAST, START, RateControl, falling_root
from golf.packing.search import Candidate
from golf.runtime.observer import Observer

TUNED = Method("uniform", "off", fine_tune=True)


def fine_tuned(packing, encoder, scale, tokens, byte_budget):
    """The encoder that the search would go on with."""
    plan = Methods((TUNED,), {}, tokens, packing.inputs.recipe.pack.tune_text)
    size, encoded = encoder.build(scale)
    candidate = Candidate(TUNED, encoder, Solution(scale, size, encoded, 1, binding=True), 0.0, 0.0)
    return fine_tuner(packing.inputs, plan, packing.windows, packing.time_budget, packing.observer)(
        candidate, byte_budget
    )


@pytest.mark.usefixtures("in_the_workspace")
def test_tuning_brings_the_packed_model_nearer_to_the_float_model(trained):
    packing = opened(trained, "pack.low_rank=off")
    encoder, scale = encoder_of(packing), 0.001
    batches = list(packing.windows.fine_tuning(8192, batch_tokens=512))
    tuning = finetune(packing.inputs.model, encoder.matrices, batches, count=len(batches), scale=scale, low_rank="off")
    assert statistics.fmean(tuning.divergences[-4:]) < statistics.fmean(tuning.divergences[:4])


@pytest.mark.usefixtures("in_the_workspace")
def test_the_texts_own_loss_teaches_what_the_float_model_does_not_know(trained):
    """A model of 12 steps has much to learn: with the text it gets better than itself, without it does not."""
    packing = opened(trained, "pack.low_rank=off", "pack.tune_batch_tokens=512")
    encoder, scale = encoder_of(packing), 0.001
    losses = {}
    for share in (0.0, 1.0):
        batches = packing.windows.fine_tuning(8192, batch_tokens=512)
        tuning = finetune(
            packing.inputs.model, encoder.matrices, batches, count=16, scale=scale, low_rank="off", text_share=share
        )
        tuned = replace(encoder, matrices=tuning.matrices, small=tuning.small)
        losses[share] = validation(packing, tuned.decoded(tuned.build(scale)[1])).loss
    assert losses[1.0] < validation(packing, packing.inputs.model).loss - 0.01
    assert losses[1.0] < losses[0.0] - 0.01


@pytest.mark.usefixtures("in_the_workspace")
def test_text_that_was_read_too_often_teaches_nothing_more_and_that_is_said(trained):
    notes = []
    packing = opened(trained, "pack.low_rank=off", observer=Observer(note=notes.append))
    whole = len(packing.inputs.data.train)
    worn = having(packing, tokens_trained=4 * whole)
    for each, share in ((packing, 0.5), (worn, 0.0)):
        fine_tuner(each.inputs, Methods((TUNED,), {}, 512, share), each.windows, each.time_budget, each.observer)
    assert len(notes) == 1
    assert f"the {whole:,} tokens of training text are read 4." in notes[0]


class _Targets:
    """Stands for the matrices of a tuning: normal targets of one variance."""

    def __init__(self, deviation=1.0):
        self.targets = np.random.default_rng(0).normal(scale=deviation, size=4096)
        self.variances = np.full(4096, deviation**2 + ROUNDING)

    def project(self, ratio):
        self.targets = self.targets * shrinkage(self.variances, ratio)

    def count(self, histogram, ratio=1.0):
        symbols = np.rint(self.targets * shrinkage(self.variances, ratio)).astype(np.int32)
        histogram.add(symbols, np.zeros(4096, dtype=np.int64))


def test_the_price_of_a_bit_rises_with_bits_over_what_is_wanted_and_falls_below_it():
    matrix = _Targets()
    rate = RateControl([matrix], 1.0)
    rate.control(hold=False)
    settled = rate.price
    assert settled == START
    matrix.project(0.99)
    rate.control(hold=False)
    dearer = rate.price
    assert dearer > settled
    rate.control(hold=False)  # bits that stay over cost more and more
    assert rate.price > dearer
    matrix.project(1.1)
    rate.control(hold=False)
    assert LEAST <= rate.price < settled


@pytest.mark.parametrize("bytes_left", [-40, 40])
def test_bytes_that_are_left_or_lacking_move_what_is_wanted(bytes_left):
    rate = RateControl([_Targets()], 1.0)
    before = rate.bits()
    rate.weighed(bytes_left)
    assert rate.wanted == pytest.approx(before + 8 * bytes_left)
    rate.control(hold=False)
    assert (rate.price < START) == (bytes_left > 0)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0, 1.01, 1.1])
def test_projection_holds_the_bits_from_either_side(share):
    rate = RateControl([_Targets(), _Targets(0.4)], 1.0)
    wanted = share * rate.bits()
    rate.project(wanted)
    one = math.log2(4096)  # what the rarest symbol costs, where bits jump over what is wanted
    assert rate.bits() == pytest.approx(wanted, abs=EXACT * wanted + one)


def test_projection_onto_no_bits_leaves_zeros_and_onto_endless_ones_something_finite():
    matrix = _Targets()
    rate = RateControl([matrix], 1.0)
    rate.project(1e9)
    assert np.isfinite(matrix.targets).all()
    rate.project(-1.0)
    assert not np.rint(matrix.targets).any()


def test_a_root_is_found_from_either_side_and_at_a_jump():
    for at in (-1.0, -0.01, 0.0, 0.02, 0.7):
        found = falling_root(lambda x, at=at: math.exp(at) - math.exp(x), step=1e-3, error=1e-6)
        assert found == pytest.approx(at, abs=1e-4)
    assert falling_root(lambda x: 1.0 if x < 0.3 else -2.0, step=1e-3, error=0.0) < 0.3  # the nearer side
    assert math.isfinite(falling_root(lambda x: 1.0, step=1e-3, error=0.0))


@pytest.mark.usefixtures("in_the_workspace")
@pytest.mark.parametrize("text", [0.0, 0.5])
def test_tuning_fills_its_budget(trained, text):
    """At its own step, before anything is solved again, from either side, whatever the batches taught."""
    packing = opened(trained, "pack.low_rank=off", "pack.tune_batch_tokens=256", f"pack.tune_text={text}")
    encoder, scale = encoder_of(packing), 0.002
    size = encoder.build(scale)[0]
    for share in (0.95, 1.02):
        byte_budget = round(share * size)
        tuned = fine_tuned(packing, encoder, scale, 2048, byte_budget)
        assert tuned.build(scale)[0] == pytest.approx((1 - AIM_BELOW) * byte_budget, rel=0.005)


def test_another_step_is_another_price_of_bits_at_the_same_symbols():
    """The slow twin: of all symbols the one whose error and bits, at the price of the other step, cost least."""
    rng = np.random.default_rng(0)
    targets = rng.normal(scale=2, size=(16, 24)).astype(np.float32)
    variances = rng.uniform(0.5, 9, size=(16, 24)).astype(np.float32)
    tuned = FineTunedTargets(targets * np.float32(0.5), variances, no_factors(16, 24), 0.5)
    symbols = np.arange(-20, 21)[:, None, None]
    for scale in (0.3, 0.45, 0.55, 1.5):
        dearer = bit_price(scale) - bit_price(0.5)
        costs = (0.5 * (targets - symbols)) ** 2 / 2 + dearer * symbols**2 / (2 * variances * math.log(2))
        assert np.array_equal(np.rint(tuned.at(scale)), symbols[costs.argmin(0), 0, 0])


def test_another_step_moves_where_tuned_targets_are_rounded_and_nothing_else():
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(64, 96)).astype(np.float32)
    variances = np.full((64, 96), 4 + ROUNDING, dtype=np.float32)
    tuned = FineTunedTargets(targets, variances, no_factors(64, 96), 0.5)
    assert np.array_equal(tuned.at(0.5), targets / np.float32(0.5))
    finer, coarser = (np.abs(np.rint(tuned.at(scale))) for scale in (0.45, 0.55))
    assert (finer >= np.abs(np.rint(tuned.at(0.5)))).all()
    assert (coarser <= np.abs(np.rint(tuned.at(0.5)))).all()
    assert not np.rint(tuned.at(ENDLESS)).any()
    assert torch.equal(shrinkage(torch.from_numpy(variances), 1.1), torch.from_numpy(shrinkage(variances, 1.1)))
