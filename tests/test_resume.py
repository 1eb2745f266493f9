"""A resumed training ends with the bits of one that was never interrupted, whatever its recipe switches on."""

import json

import pytest
import torch

from golf.checkpoint import load_checkpoint
from golf.errors import Interrupted
from golf.interrupt import StopFlag
from golf.observer import Observer
from golf.recipe import Recipe
from golf.runs import Run
from golf.train import train

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
MATRICES = {"momentum_warmup": 0.5, "nesterov": True, "spectral_decay": 0.1, "weight_decay_end": 0.3}
OPTIMIZERS = {
    "numuon": MATRICES | {"rank": {"start": 1.0, "end": 0.25, "down_end": 0.5, "hold": 0.0, "finish": 0.5}},
    "muon": MATRICES,
    "adamw": {"weight_decay_end": 0.3},
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
    (ours, losses), (theirs, expected) = bits(folder / "parts"), bits(folder / "whole")
    assert losses == expected
    assert ours.keys() == theirs.keys()
    assert any(key.startswith("average.") for key in ours)
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
