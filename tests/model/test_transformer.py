import math

import pytest
import torch

from golf.model import Transformer, flops_per_token, initialize, parameter_count, parameter_shapes, role
from golf.recipe import Model, find_recipe, load_recipe

SHAPE = Model(layers=2, width=32, heads=4, kv_heads=2, mlp_ratio=2.0)


OPTIONS = {
    "plain": {},
    "smear": {"smear": True},
    "baseline": {"layers": 5, "skips": True, "residual_mix": True, "output_scales": True},
    "leaky": {"mlp_activation": "leaky_relu2"},
    "part rotary": {"rotary_fraction": 0.5},
    "exclusive": {"layers": 3, "exclusive_layers": 2},
    "parallel": {"layers": 3, "parallel_from": 1},
    "recurrent": {"layers": 4, "recur_layers": (1, 2), "recur_times": 2, "skips": True},
}


@pytest.fixture(params=OPTIONS)
def model(request):
    made = Transformer(SHAPE.model_copy(update=OPTIONS[request.param]), 50)
    initialize(made, seed=3)
    # the zero-initialised outputs would hide the attention from every test
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if name == "smear_gate" or name.endswith(("output.weight", "down.weight", "_scale", "mix_embedding")):
                parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
    return made


def test_shapes_by_arithmetic_are_those_of_the_module(model):
    assert list(parameter_shapes(model.shape, 50)) == [(n, tuple(p.shape)) for n, p in model.named_parameters()]


def test_parameter_count_counts_the_tied_embedding_once(model):
    assert parameter_count(model.shape, 50) == sum(p.numel() for p in model.parameters())


def test_the_contest_baseline_has_its_published_shape():
    # 17,059,912 with the baseline's skips, scales and residual mix, which are options:
    # 4 skip weights of 512, and 9 blocks of 2 scales and 2 mixes of 512
    baseline = Model(layers=9, width=512, heads=8, kv_heads=4, mlp_ratio=2.0)
    assert parameter_count(baseline, 1024) == 17_059_912 - 4 * 512 - 9 * 4 * 512
    whole = load_recipe(find_recipe("baseline-16mb"))
    assert parameter_count(whole.model, 1024) == 17_059_912


def test_no_prediction_sees_its_own_future(model):
    tokens = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(0))
    before = model(tokens)
    tokens[:, 12:] = (tokens[:, 12:] + 7) % 50
    after = model(tokens)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_every_earlier_token_counts(model):
    tokens = torch.randint(50, (1, 16), generator=torch.Generator().manual_seed(0))
    last = model(tokens)[0, -1]
    for position in range(15):
        changed = tokens.clone()
        changed[0, position] = (changed[0, position] + 1) % 50
        assert not torch.allclose(model(changed)[0, -1], last)


def test_smear_does_not_reach_over_the_start_of_a_document():
    smeared = Transformer(SHAPE.model_copy(update={"smear": True, "layers": 1}), 50)
    initialize(smeared, seed=0)  # blocks write nothing yet, so only the smear looks back
    with torch.no_grad():
        smeared.smear_gate.fill_(1.0)
    inside = [smeared(torch.tensor([[first, 7]]))[0, 1] for first in (3, 4)]
    across = [smeared(torch.tensor([[first, 1]]))[0, 1] for first in (3, 4)]
    assert not torch.allclose(*inside)
    assert torch.equal(*across)


def test_position_matters(model):
    tokens = torch.tensor([[3, 4, 5, 6, 7]])
    swapped = torch.tensor([[4, 3, 5, 6, 7]])
    assert not torch.allclose(model(tokens)[0, -1], model(swapped)[0, -1])


def test_logits_stay_within_the_softcap(model):
    with torch.no_grad():
        model.embedding.weight.mul_(1e4)
    assert model(torch.tensor([[1, 2, 3]])).abs().max() <= SHAPE.logit_softcap


def test_probabilities_sum_to_one(model):
    probabilities = model(torch.tensor([[1, 2, 3]])).softmax(-1).sum(-1)
    assert torch.allclose(probabilities, torch.ones(1, 3))


def test_loss_is_the_mean_of_its_unreduced_form(model):
    windows = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(1))
    losses = model.loss(windows, reduction="none")
    assert losses.shape == (3, 8)
    assert torch.allclose(losses.mean(), model.loss(windows))


def test_a_fresh_model_is_uniform():
    fresh = Transformer(SHAPE.model_copy(update={"embedding_std": 1e-6}), 50)
    initialize(fresh, seed=0)
    loss = fresh.loss(torch.randint(50, (4, 9)))
    assert loss.item() == pytest.approx(math.log(50), abs=1e-3)


def test_initialisation_depends_on_the_seed_alone():
    def weights(seed):
        torch.manual_seed(seed * 17 + 5)  # the global generator must not matter
        made = Transformer(SHAPE, 50)
        initialize(made, seed=seed)
        return torch.cat([p.detach().flatten() for p in made.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_grouped_queries_share_keys_and_values():
    shared = Transformer(SHAPE, 50)
    full = Transformer(SHAPE.model_copy(update={"kv_heads": 4}), 50)
    initialize(shared, seed=3)
    weights = {k: v.clone() for k, v in shared.state_dict().items()}
    for name in list(weights):
        if ".key." in name or ".value." in name:  # every kv head serves two query heads
            weights[name] = weights[name].unflatten(0, (2, 8)).repeat_interleave(2, dim=0).flatten(0, 1)
        if name.endswith("output.weight"):
            weights[name].normal_(generator=torch.Generator().manual_seed(0))
            shared.state_dict()[name].copy_(weights[name])
    full.load_state_dict(weights)
    tokens = torch.randint(50, (2, 12), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(shared(tokens), full(tokens), atol=1e-5)


def test_roles_name_what_a_matrix_does_in_any_layer():
    assert role("blocks.0.mlp.down.weight") == role("blocks.7.mlp.down.weight") == "mlp.down"
    assert role("embedding.weight") == "embedding"


def test_flops_count_six_a_weight_and_the_attention():
    assert flops_per_token(SHAPE, 50, 16) == 6 * parameter_count(SHAPE, 50) + 12 * 2 * 32 * 16
