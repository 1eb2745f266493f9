"""The price on the weights' bits: its formula, what it leaves alone, and when it acts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.model import Transformer, initialize
from golf.optim import Optimizers
from golf.optim.rate_penalty import soft_threshold_
from golf.optim.schedules import rate_penalty
from golf.recipe import Model, Optimizer, RatePenalty


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=9), st.floats(0, 3, width=32))
def test_an_entry_moves_towards_zero_and_stops_there(entries, amount):
    weight = torch.tensor(entries)
    expected = weight.sign() * (weight.abs() - amount).clamp(min=0)
    soft_threshold_([weight], amount)
    assert torch.equal(weight.abs(), expected.abs())
    assert bool((weight * expected >= 0).all())


def test_it_is_the_proximal_step_of_the_l1_norm():
    """No other point has less of |x - W|² / 2 + amount · |x|."""
    grid = torch.linspace(-2, 2, 4001)
    for entry in (-1.3, -0.2, 0.0, 0.4, 1.7):
        weight = torch.tensor([entry])
        soft_threshold_([weight], 0.5)
        best = grid[((grid - entry) ** 2 / 2 + 0.5 * grid.abs()).argmin()]
        assert float(weight) == pytest.approx(float(best), abs=1e-3)


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_every_optimizer_penalizes_its_matrices_and_nothing_else(name):
    penalty = RatePenalty(kind="l1", strength=2.0)
    plain, priced = (
        _stepped(Optimizer(name=name, matmul_dtype="float32", rate_penalty=each)) for each in (RatePenalty(), penalty)
    )
    zeros = 0
    for key, weight in plain.items():
        if weight.ndim == 2 and not key.startswith("embedding."):
            soft_threshold_([weight], 0.02 * 2.0)
            zeros += int((weight == 0).sum())
        assert torch.equal(priced[key], weight), key
    assert zeros > 100


def _stepped(section):
    """Weights after one step on made-up gradients."""
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), 300)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    optimizers = Optimizers(section, model)
    optimizers.schedule(1.0, 0, 4)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizers.step()
    return {key: parameter.detach().clone() for key, parameter in model.named_parameters()}


def test_it_begins_and_ends_with_its_shares_of_the_steps():
    section = RatePenalty(kind="l1", strength=0.5, start=0.25, finish=0.75)
    assert [rate_penalty(step, steps=8, section=section) for step in range(8)] == [0, 0, 0.5, 0.5, 0.5, 0.5, 0, 0]
    whole = RatePenalty(kind="l1", strength=0.5)
    assert {rate_penalty(step, steps=8, section=whole) for step in range(8)} == {0.5}
    assert rate_penalty(3, steps=8, section=RatePenalty(strength=0.5)) == 0
