"""The price on the weights' bits: its formulas, what it leaves alone, when it acts, and what follows from a price."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.model import Transformer, initialize
from golf.optim import Optimizers
from golf.optim.rate_penalty import code_slopes, shape_by_moments, shrink_, strength_of_price
from golf.optim.schedules import is_penalized
from golf.recipe import Model, Optimizer, RatePenalty


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=9), st.floats(0, 3, width=32))
def test_an_entry_moves_towards_zero_and_stops_there(entries, amount):
    weight = torch.tensor(entries)
    expected = weight.sign() * (weight.abs() - amount).clamp(min=0)
    shrink_(weight, amount)
    assert torch.equal(weight.abs(), expected.abs())
    assert bool((weight * expected >= 0).all())


def test_it_is_the_proximal_step_of_the_l1_norm():
    """No other point has less of |x - W|² / 2 + amount · |x|."""
    grid = torch.linspace(-2, 2, 4001)
    for entry in (-1.3, -0.2, 0.0, 0.4, 1.7):
        weight = torch.tensor([entry])
        shrink_(weight, 0.5)
        best = grid[((grid - entry) ** 2 / 2 + 0.5 * grid.abs()).argmin()]
        assert float(weight) == pytest.approx(float(best), abs=1e-3)


def generalized_gaussian(shape, *, count=200_000, scale=0.1):
    """Samples of the density exp(-(|w| / scale)^shape)."""
    torch.manual_seed(4)
    sizes = torch.distributions.Gamma(1 / shape, 1.0).sample((count,)) ** (1 / shape)
    return scale * sizes * torch.randn(count).sign()


def shape_of(weight):
    return float(shape_by_moments(weight.abs().mean(), weight.square().mean()))


@pytest.mark.parametrize("shape", [0.5, 1.0, 1.5, 2.0])
def test_moments_find_the_shape(shape):
    assert shape_of(generalized_gaussian(shape)) == pytest.approx(shape, rel=0.03)


@pytest.mark.parametrize("shape", [0.6, 1.0, 1.8])
def test_slopes_are_those_of_the_code(shape):
    """The slow twin: -log p with the maximum-likelihood scale, its gradient by autograd."""
    weight = generalized_gaussian(shape)
    found, sizes = shape_of(weight), weight.abs().requires_grad_()
    power = found * (weight.abs() ** found).mean()  # α^ν of maximum likelihood
    (slope,) = torch.autograd.grad((sizes**found / power).sum(), sizes)
    assert torch.allclose(code_slopes([weight])[0], slope * weight.abs().mean(), rtol=1e-3)


def test_a_laplace_density_has_the_slope_one():
    (slopes,) = code_slopes([generalized_gaussian(1.0)])
    assert float(slopes.median()) == pytest.approx(1, abs=0.01)


def test_one_code_for_all_has_the_shape_of_them_together():
    weight = generalized_gaussian(0.8)
    parts = code_slopes(weight.split(50_000))
    assert torch.allclose(torch.cat(parts), code_slopes([weight])[0], rtol=1e-4)


def test_zeros_stay_zeros():
    empty, half = torch.zeros(9), torch.tensor([0.0, 0.5, 0.0, -2.0])
    for weight in (empty, half):
        shrink_(weight, 0.1 * code_slopes([weight])[0])
    assert not bool(empty.any())
    assert half[0] == half[2] == 0 and half[1] > 0 > half[3]


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_every_optimizer_penalizes_its_matrices_and_nothing_else(name):
    plain = stepped(Optimizer(name=name, matmul_dtype="float32"))
    blocks = {key: weight for key, weight in plain.items() if weight.ndim == 2 and not key.startswith("embedding.")}
    assert 0 < len(blocks) < len(plain) - 1
    slopes = {
        ("l1", "each"): [1.0] * len(blocks),
        ("ggd", "each"): [code_slopes([block])[0] for block in blocks.values()],
        ("ggd", "one"): code_slopes([*blocks.values()]),
    }
    for (kind, codes), each in slopes.items():
        expected = {key: weight.clone() for key, weight in plain.items()}
        for key, slope in zip(blocks, each, strict=True):
            shrink_(expected[key], 0.02 * 2.0 * slope)
        section = RatePenalty(kind=kind, strength=2.0, codes=codes)
        penalized = stepped(Optimizer(name=name, matmul_dtype="float32", rate_penalty=section))
        for key, weight in expected.items():
            assert torch.allclose(penalized[key], weight, atol=1e-6), (kind, codes, key)


def stepped(section, *, bit_price=0.0, scale=1.0):
    """Weights after one step on made-up gradients."""
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), 300)
    initialize(model, seed=1)
    generator = torch.Generator().manual_seed(2)
    optimizers = Optimizers(section, model)
    optimizers.schedule(1.0, 0, 4)
    optimizers.bit_price = bit_price
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)
    optimizers.step()
    return {key: parameter.detach().clone() for key, parameter in model.named_parameters()}


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_the_automatic_strength_follows_the_price_over_the_gradient(name):
    """Twice the gradient and twice the price are one loss in other units: the same step."""
    section = Optimizer(name=name, matmul_dtype="float32", eps=1e-30, rate_penalty=RatePenalty(kind="l1"))
    one, two = stepped(section, bit_price=1e-3), stepped(section, bit_price=2e-3, scale=2.0)
    free = stepped(section)
    for key, weight in one.items():
        assert torch.allclose(weight, two[key], atol=1e-6), key
    moved = {key for key, weight in one.items() if not torch.equal(weight, free[key])}
    assert moved == {key for key, weight in one.items() if weight.ndim == 2 and not key.startswith("embedding.")}


def test_the_strength_is_what_muon_makes_of_the_price():
    """A gradient of price · d bits / d |W| added to a large one changes Muon's step by as much."""
    torch.manual_seed(0)
    gradient, _ = torch.linalg.qr(torch.randn(64, 64))  # Muon's step is proportional to it
    weight, price = 0.1 * torch.randn(64, 64), 1e-7
    strength = strength_of_price(weight, {}, {"momentum_buffer": gradient}, 64, price)
    slope = price / (math.log(2) * weight.abs().mean())
    assert float(strength) == pytest.approx(float(slope), rel=1e-5)
    doubled = strength_of_price(weight, {}, {"momentum_buffer": 2 * gradient}, 64, price)
    assert float(doubled) == pytest.approx(float(slope) / 2, rel=1e-5)


def test_it_begins_and_ends_with_its_shares_of_the_steps():
    section = RatePenalty(kind="l1", start=0.25, finish=0.75)
    assert [is_penalized(step, steps=8, section=section) for step in range(8)] == [0, 0, 1, 1, 1, 1, 0, 0]
    assert all(is_penalized(step, steps=8, section=RatePenalty(kind="ggd")) for step in range(8))
    assert not is_penalized(3, steps=8, section=RatePenalty())
