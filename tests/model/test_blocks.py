"""What the contest's entries put into a block, each option by its own equation."""

import pytest
import torch
import torch.nn.functional as F

from golf.errors import RecipeError
from golf.model import Transformer, flops_per_token, initialize, layer_order, parameter_count, skip_source
from golf.model.blocks import Block, _rotate, _without_own, norm
from golf.optim import Optimizers
from golf.optim.schedules import weight_decay
from golf.recipe import Model, load_recipe
from golf.recipe.sections import Optimizer


def block(**options):
    torch.manual_seed(0)
    made = Block(Model(layers=2, width=16, heads=2, kv_heads=1, **options), 1, skips=False)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def rotary(T, half):
    angles = torch.outer(torch.arange(float(T)), 0.3 ** torch.arange(float(half)))
    return angles.cos(), angles.sin()


X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_the_mlp_squares_a_leaky_relu():
    mlp = block(mlp_activation="leaky_relu2").mlp
    raised = X @ mlp.up.weight.T
    expected = torch.where(raised > 0, raised, 0.5 * raised) ** 2 @ mlp.down.weight.T
    torch.testing.assert_close(mlp(X), expected)


@torch.no_grad()
def test_a_part_of_the_channels_is_turned():
    x = torch.randn(1, 2, 5, 8)
    turned = _rotate(x, rotary(5, 2))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    torch.testing.assert_close(turned[..., :4], _rotate(x[..., :4], rotary(5, 2)))
    assert not torch.allclose(turned[:, :, 1:, :4], x[:, :, 1:, :4])
    assert Model(width=64, heads=4, rotary_fraction=0.25).rotary_width == 4


@torch.no_grad()
def test_exclusive_attention_leaves_nothing_along_the_tokens_own_value():
    mixed, value = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8)
    left = _without_own(mixed, value)
    own = value.repeat_interleave(2, dim=1)
    assert (left * own).sum(-1).abs().max() < 1e-5
    removed = mixed - left
    torch.testing.assert_close(removed, (mixed * own).sum(-1, keepdim=True) / own.square().sum(-1, keepdim=True) * own)


@torch.no_grad()
def test_attention_and_mlp_read_the_same_where_they_are_parallel():
    made, turn = block(parallel_from=1), rotary(5, 4)
    expected = X + made.attention(norm(X), turn) + made.mlp(norm(X))
    torch.testing.assert_close(made(X, X, None, turn), expected)
    made.parallel = False
    assert not torch.allclose(made(X, X, None, turn), expected)


@torch.no_grad()
def test_layers_that_recur_are_those_layers_written_out():
    shape = Model(layers=3, width=16, heads=2, kv_heads=1, recur_layers=(1, 2), recur_times=2)
    assert layer_order(shape) == [0, 1, 2, 1, 2]
    recurrent = Transformer(shape, 30)
    initialize(recurrent, seed=1)
    for parameter in recurrent.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)) * 0.1)
    written = Transformer(shape.model_copy(update={"layers": 5, "recur_layers": None}), 30)
    state = recurrent.state_dict()
    for place, layer in enumerate(layer_order(shape)):
        state |= {
            k.replace(f"blocks.{layer}.", f"blocks.{place}.", 1): v
            for k, v in recurrent.state_dict().items()
            if k.startswith(f"blocks.{layer}.")
        }
    written.load_state_dict(state)
    tokens = torch.randint(30, (2, 7))
    assert torch.equal(recurrent(tokens), written(tokens))
    assert flops_per_token(shape, 30, 64) == flops_per_token(written.shape, 30, 64)
    assert parameter_count(shape, 30) < parameter_count(written.shape, 30)


def test_skips_mirror_the_order_in_which_layers_are_applied():
    shape = Model(layers=3, width=16, heads=2, kv_heads=1, recur_layers=(1, 1), recur_times=2, skips=True)
    assert [skip_source(shape, place) for place in range(4)] == [None, None, 1, 0]
    names = [name for name, _ in Transformer(shape, 30).named_parameters() if "skip" in name]
    assert names == ["blocks.1.skip_scale", "blocks.2.skip_scale"]


@pytest.mark.parametrize("layers", ["[1, 3]", "[2, 1]", "[-1, 1]"])
def test_a_group_that_is_none_is_a_mistake_of_the_recipe(tmp_path, layers):
    path = tmp_path / "r.toml"
    path.write_text(f'name = "r"\n[model]\nlayers = 3\nrecur_layers = {layers}\n')
    with pytest.raises(RecipeError, match="are not first and last of 3 layers"):
        load_recipe(path)


def test_weight_decay_moves_in_a_straight_line():
    assert [weight_decay(step, steps=5, start=0.1, end=0.5) for step in range(5)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5]
    )
    assert weight_decay(3, steps=5, start=0.1, end=None) == 0.1


@pytest.mark.parametrize("name", ["numuon", "muon", "adamw"])
def test_every_matrix_and_no_gain_follows_the_decay(name):
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), 30)
    initialize(model, seed=1)
    optimizers = Optimizers(Optimizer(name=name, weight_decay=0.1, weight_decay_end=0.3), model)
    optimizers.schedule(1.0, 9, 10)
    for optimizer in optimizers._all:
        for group in optimizer.param_groups:
            assert group["weight_decay"] == (0.3 if group["params"][0].ndim == 2 else 0.0)


@torch.no_grad()
def test_options_that_are_off_change_nothing():
    made, turn = block(), rotary(5, 4)
    attended = X + made.attention(norm(X), turn)
    up = norm(attended) @ made.mlp.up.weight.T
    torch.testing.assert_close(made(X, X, None, turn), attended + F.relu(up).square() @ made.mlp.down.weight.T)
