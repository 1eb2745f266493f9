"""The price on the weights' bits: its formula, what it leaves alone, and when it acts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.model import Transformer, initialize
from golf.optim import Optimizers
from golf.optim.rate_penalty import generalized_gaussian_threshold_, shape_by_moments, soft_threshold_
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


def generalized_gaussian(shape, *, count=200_000, scale=0.1):
    """Samples of the density exp(-(|w| / scale)^shape)."""
    torch.manual_seed(4)
    sizes = torch.distributions.Gamma(1 / shape, 1.0).sample((count,)) ** (1 / shape)
    return scale * sizes * torch.randn(count).sign()


@pytest.mark.parametrize("shape", [0.5, 1.0, 1.5, 2.0])
def test_moments_find_the_shape(shape):
    weight = generalized_gaussian(shape)
    assert float(shape_by_moments(weight.abs().mean(), weight.square().mean())) == pytest.approx(shape, rel=0.03)


@pytest.mark.parametrize("shape", [0.6, 1.0, 1.8])
def test_the_generalized_penalty_follows_the_slope_of_its_code(shape):
    """The slow twin: -log p with the maximum-likelihood scale, its gradient by autograd."""
    weight = generalized_gaussian(shape)
    found = float(shape_by_moments(weight.abs().mean(), weight.square().mean()))
    sizes = weight.abs().requires_grad_()
    power = found * (weight.abs() ** found).mean()  # α^ν of maximum likelihood
    (slope,) = torch.autograd.grad((sizes**found / power).sum() * weight.abs().mean(), sizes)
    expected = weight.sign() * (weight.abs() - 0.003 * slope).clamp(min=0)
    generalized_gaussian_threshold_([weight], 0.003)
    assert torch.allclose(weight, expected, atol=1e-6)


def test_of_a_laplace_density_both_penalties_are_the_same():
    plain, general = (generalized_gaussian(1.0) for _ in range(2))
    soft_threshold_([plain], 0.01)
    generalized_gaussian_threshold_([general], 0.01)
    assert torch.allclose(plain, general, atol=2e-4)


def test_one_code_for_all_has_the_shape_of_them_together():
    weight = generalized_gaussian(0.8)
    parts = [part.clone() for part in weight.split(50_000)]
    generalized_gaussian_threshold_(parts, 0.01)
    generalized_gaussian_threshold_([weight], 0.01)
    assert torch.allclose(torch.cat(parts), weight, atol=1e-6)


@pytest.mark.parametrize("amount", [0.0, 0.1])
def test_zeros_stay_zeros(amount):
    empty, half = torch.zeros(9), torch.tensor([0.0, 0.5, 0.0, -2.0])
    generalized_gaussian_threshold_([empty], amount)
    generalized_gaussian_threshold_([half], amount)
    assert not bool(empty.any())
    assert half[0] == half[2] == 0 and half[1] > 0 > half[3]


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_every_optimizer_penalizes_its_matrices_and_nothing_else(name):
    plain = _stepped(Optimizer(name=name, matmul_dtype="float32"))
    blocks = [weight for key, weight in plain.items() if weight.ndim == 2 and not key.startswith("embedding.")]
    assert 0 < len(blocks) < len(plain) - 1

    def each(weights, amount):
        for weight in weights:
            generalized_gaussian_threshold_([weight], amount)

    penalties = {
        ("l1", "each"): soft_threshold_,
        ("ggd", "each"): each,
        ("ggd", "one"): generalized_gaussian_threshold_,
    }
    for (kind, codes), penalize in penalties.items():
        section = RatePenalty(kind=kind, strength=2.0, codes=codes)
        penalized = _stepped(Optimizer(name=name, matmul_dtype="float32", rate_penalty=section))
        expected = {key: weight.clone() for key, weight in plain.items()}
        penalize([expected[key] for key, weight in plain.items() if any(weight is block for block in blocks)], 0.02 * 2)
        for key, weight in expected.items():
            assert torch.equal(penalized[key], weight), (kind, codes, key)


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
