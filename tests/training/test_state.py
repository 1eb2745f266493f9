"""What a training keeps beside its weights, and what it sees of them."""

import json

import pytest
import torch
from cli import golf, golf_json

from golf.model import Transformer
from golf.optim import Optimizers
from golf.optim.spectral import energy_share, singular_values
from golf.recipe import Model, Optimizer
from golf.run.checkpoint import load_checkpoint
from golf.training.diagnostics import matrices_of, matrix_figures


def test_the_average_follows_its_formula(workspace):
    folder = workspace / "averaged"
    golf("train", "--set", "train.ema=0.5", "--set", "train.steps=6", "--set", "train.checkpoint_every=1",
         "--out", folder, cwd=workspace)  # fmt: skip
    last = load_checkpoint(folder / "checkpoint.safetensors").tensors
    before = load_checkpoint(folder / "checkpoint.previous.safetensors").tensors
    name = "blocks.0.mlp.up.weight"
    decay = min(0.5, 6 / 15)  # the sixth step: (1 + 5) / (10 + 5)
    expected = torch.lerp(before[f"average.{name}"], last[f"model.{name}"], 1 - decay)
    assert torch.allclose(last[f"average.{name}"], expected, atol=1e-6)
    assert not torch.allclose(last[f"average.{name}"], last[f"model.{name}"], atol=1e-4)


def test_what_is_measured_and_packed_is_the_average(workspace):
    folder = workspace / "averaged-too"
    result = golf_json("train", "--set", "train.ema=0.9", "--out", folder, cwd=workspace)
    plain = golf_json("train", "--out", workspace / "not-averaged", cwd=workspace)
    assert result["val_loss"] != plain["val_loss"]
    packed = golf_json("pack", folder, cwd=workspace)
    assert packed["float_loss"] == pytest.approx(result["val_loss"], abs=1e-5)


def test_training_is_the_same_with_and_without_an_average(workspace):
    for name, more in (("with", ("--set", "train.ema=0.9")), ("without", ())):
        golf("train", *more, "--out", workspace / name, cwd=workspace)

    def weights(name):
        tensors = load_checkpoint(workspace / name / "checkpoint.safetensors").tensors
        return {k: v for k, v in tensors.items() if k.startswith("model.")}

    ours, theirs = weights("with"), weights("without")
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_looks_describe_every_matrix(workspace):
    folder = workspace / "seen"
    golf("train", "--out", folder, cwd=workspace)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    looks = [record for record in records if "matrices" in record]
    assert [record["step"] for record in looks] == [6, 12]
    for record in looks:
        assert len(record["matrices"]) == 1 + 6 * 2
        for figures in record["matrices"].values():
            assert 1 <= figures["stable_rank"] <= figures["effective_rank"] + 0.01
            assert 0 < figures["top_energy"] <= 1
            assert figures["update_ratio"] > 0


def test_figures_of_a_known_matrix():
    shape = Model(layers=1, width=16, heads=2, kv_heads=1)
    model = Transformer(shape, 260)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    before = matrices_of(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    for figures in matrix_figures(model, before, share=0.25).values():
        assert figures == {"stable_rank": 1.0, "effective_rank": 1.0, "top_energy": 1.0, "update_ratio": 0.5}


def test_singular_values_are_those_of_an_svd():
    matrix = torch.randn(40, 24, generator=torch.Generator().manual_seed(0)) * 1e-20
    exact = torch.linalg.svdvals(matrix)
    assert torch.allclose(singular_values(matrix) * (exact[0] / singular_values(matrix)[0]), exact, rtol=1e-3)
    assert energy_share(torch.tensor([2.0, 1.0, 1.0]), 1) == pytest.approx(4 / 6)


def with_gain(modules):
    """A model of these modules and a vector, which goes to AdamW."""
    model = torch.nn.ModuleDict(modules)
    model.register_parameter("gain", torch.nn.Parameter(torch.ones(4)))
    return model


def test_spectral_decay_takes_the_same_from_every_singular_value():
    model = with_gain({"matrix": torch.nn.Linear(16, 24, bias=False)})
    u, _, vh = torch.linalg.svd(torch.randn(24, 16, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    values = torch.linspace(1, 3, 16)
    with torch.no_grad():
        model["matrix"].weight.copy_((u * values) @ vh)
    section = Optimizer(name="muon", lr=0.1, weight_decay=0.0, spectral_decay=2.0, matmul_dtype="float32")
    optimizers = Optimizers(section, model)
    model["matrix"].weight.grad = torch.zeros(24, 16)
    optimizers.step()
    # five quintics leave lengths within .15 of 1, and lr · spectral_decay = .2 of that comes off
    assert torch.allclose(torch.linalg.svdvals(model["matrix"].weight.detach()).flip(0), values - 0.2, atol=0.03)


def test_the_down_projection_may_keep_more_directions():
    mlp = torch.nn.ModuleDict({"down": torch.nn.Linear(64, 64, bias=False)})
    model = with_gain({"up": torch.nn.Linear(64, 64, bias=False), "mlp": mlp})
    rank = {"kind": "fixed", "end": 0.25, "down_end": 0.75}
    section = Optimizer(name="numuon", matmul_dtype="float32", rank=rank)
    optimizers = Optimizers(section, model)
    optimizers.schedule(1.0, 0, 10)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    optimizers.step()
    ranks = {}
    for name, p in model.named_parameters():
        if p.ndim == 2:
            moved = before[name] * (1 - section.lr * section.weight_decay) - p.detach()
            ranks[name] = int((torch.linalg.svdvals(moved) > section.lr / 2).sum())
    assert ranks == {"up.weight": 16, "mlp.down.weight": 48}
    assert list(optimizers.tensors()) and all("/" in name for name in optimizers.tensors())
