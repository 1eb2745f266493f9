"""A resumed training ends with the bits of one that was never interrupted, whatever its recipe switches on."""

import json
from dataclasses import replace

import pytest
import torch

from golf.errors import Interrupted, UsageError
from golf.optim import build
from golf.recipe import Recipe
from golf.run.checkpoint import load_checkpoint
from golf.run.folder import Run
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.training.state import TrainingState
from golf.training.train import claim_folder, train

STEPS, STOP = 6, 3
EVERY_LAYER = {
    "layers": 3,
    "width": 16,
    "heads": 2,
    "kv_heads": 1,
    "smear": True,
    "skips": True,
    "residual_mix": True,
    "output_scales": True,
    "mlp_activation": "leaky_relu2",
    "rotary_fraction": 0.5,
    "exclusive_layers": 1,
    "parallel_from": 2,
    "recur_layers": [1, 1],
}
DECAY = {"weight_decay_end": 0.3, "rate_penalty": {"kind": "l1", "strength": 0.05, "start": 0.2}}
MATRICES = DECAY | {"momentum_warmup": 0.5, "nesterov": True, "spectral_decay": 0.1}
OPTIMIZERS = {
    "numuon": MATRICES | {"rank": {"start": 1.0, "end": 0.25, "down_end": 0.5, "hold": 0.0, "finish": 0.5}},
    "muon": MATRICES,
    "adamw": DECAY | {"rate_penalty": {"kind": "ggd", "strength": "auto", "codes": "one"}},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("\n".join(f"def f{i}(x):\n    return x + {i * i}\n" for i in range(200)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(optimizer, **model):
    return Recipe.model_validate(
        {
            "name": "resumed",
            "budget": {"cap": 4000},
            "data": {"source": "text", "path": "text.txt", "val_fraction": 0.2},
            "tokenizer": {"kind": "bytes"},
            "model": {"layers": 1, "width": 16, "heads": 2, "kv_heads": 1} | model,
            "optimizer": optimizer,
            "train": {"steps": STEPS, "batch_tokens": 128, "sequence_length": 32, "ema": 0.5, "log_every": 1}
            | {"micro_batch_tokens": 64, "eval_every": 4, "eval_tokens": 64},
            "verify": {"tokens": 64},
        }
    )


def trained(recipe, folder, *, resume=False, stop_at=None):
    """Train, asked to stop while step `stop_at` is reported; returns the notes."""
    stop, notes = StopFlag(), []

    def record(figures):
        if figures["step"] == stop_at:
            stop.receive(2)

    observer = Observer(record=record, note=notes.append)
    cpu = torch.device("cpu")
    train(recipe, Run(folder), cache=folder.parent / "cache", device=cpu, stop=stop, resume=resume, observer=observer)
    return notes


def interrupted_and_resumed(recipe, folder):
    with pytest.raises(Interrupted):
        trained(recipe, folder, stop_at=STOP)
    assert STOP <= load_checkpoint(folder / "checkpoint.safetensors").state["step"] < STEPS
    return trained(recipe, folder, resume=True)


def assert_same_bits(folder):
    (ours, losses), (theirs, expected) = bits(folder / "parts"), bits(folder / "whole")
    assert losses == expected
    assert ours.keys() == theirs.keys()
    assert any(key.startswith("average.") for key in ours)
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def bits(folder):
    """Every tensor of the checkpoint, and the loss of every step."""
    tensors = load_checkpoint(folder / "checkpoint.safetensors").tensors
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return tensors, [(line["step"], line["train_loss"]) for line in lines]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_with_every_option_has_the_bits_of_an_uninterrupted_one(folder, name):
    recipe = recipe_of({"name": name} | OPTIMIZERS[name], **EVERY_LAYER)
    trained(recipe, folder / "whole")
    assert not interrupted_and_resumed(recipe, folder / "parts")
    assert_same_bits(folder)


def test_the_type_of_products_is_recorded(folder):
    for name, chosen in (("numuon", "float32"), ("muon", "bfloat16")):
        trained(recipe_of({"name": name, "matmul_dtype": chosen}), folder / name)
        assert load_checkpoint(folder / name / "checkpoint.safetensors").state["matmul_dtype"] == chosen
    trained(recipe_of({"name": "adamw"}), folder / "adamw")
    assert load_checkpoint(folder / "adamw" / "checkpoint.safetensors").state.get("matmul_dtype") is None


@pytest.mark.parametrize("name", ["numuon", "muon"])
@pytest.mark.parametrize(("before", "after"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_resumed_run_keeps_its_products_where_auto_would_choose_others(folder, monkeypatch, name, before, after):
    """As on a machine with another CPU, or with a GPU."""
    recipe = recipe_of({"name": name})
    monkeypatch.setattr(build, "product_dtype", lambda _device: getattr(torch, before))
    trained(recipe, folder / "whole")
    with pytest.raises(Interrupted):
        trained(recipe, folder / "parts", stop_at=STOP)
    monkeypatch.setattr(build, "product_dtype", lambda _device: getattr(torch, after))
    notes = trained(recipe, folder / "parts", resume=True)
    assert notes == [f"the optimizer goes on in {before}, as the run began; {after} would be faster on this machine"]
    assert_same_bits(folder)
    assert load_checkpoint(folder / "parts" / "checkpoint.safetensors").state["matmul_dtype"] == before


def test_a_checkpoint_that_records_no_products_resumes_as_auto(folder, monkeypatch):
    honest = TrainingState._state
    recipe = recipe_of({"name": "numuon"})
    trained(recipe, folder / "whole")
    with monkeypatch.context() as older:
        older.setattr(TrainingState, "_state", lambda state: replace(honest(state), matmul_dtype=None))
        with pytest.raises(Interrupted):
            trained(recipe, folder / "parts", stop_at=STOP)
    assert not trained(recipe, folder / "parts", resume=True)
    assert_same_bits(folder)


def test_another_type_of_products_is_another_recipe(folder):
    trained(recipe_of({"matmul_dtype": "float32"}), folder / "run")
    with pytest.raises(UsageError, match=r'optimizer\.matmul_dtype: "float32" there, "bfloat16" here'):
        claim_folder(Run(folder / "run"), recipe_of({"matmul_dtype": "bfloat16"}), resume=True, force=False)
