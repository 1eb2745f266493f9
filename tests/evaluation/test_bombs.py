"""Small files that ask for much time or memory are refused from the manifest, before anything is built."""

import pytest
import torch
from cheats import artifact
from cli import golf

from golf.artifact import Limits, parse_artifact
from golf.data import load_tokenizer
from golf.errors import DamagedFile
from golf.evaluation import rebuild as module
from golf.evaluation.rebuild import rebuild
from golf.model import Transformer, initialize
from golf.model.cost import forward_flops, largest_activation
from golf.recipe import Model

BYTES = load_tokenizer("bytes", b"")


def bomb(**settings):
    window = settings.pop("window")
    given = [f"model.{key}={value}" for key, value in settings.items()]
    return artifact(
        BYTES, 100, "text.txt", *given, f"train.sequence_length={window}", f"train.batch_tokens={window}",
        "verify.tokens=1000000",
    )  # fmt: skip


BOMBS = [
    {"layers": 1, "width": 8, "heads": 1, "kv_heads": 1, "window": 1 << 17},
    {"layers": 1, "width": 8, "heads": 1, "kv_heads": 1, "window": 258_000},
    {"layers": 24, "width": 8, "heads": 1, "kv_heads": 1, "window": 1 << 16},
    {"layers": 1, "width": 64, "heads": 32, "kv_heads": 1, "window": 1 << 14},
    {"layers": 2, "width": 256, "heads": 128, "kv_heads": 128, "window": 1 << 14, "exclusive_layers": 2},
    {"layers": 1, "width": 256, "heads": 1, "kv_heads": 1, "mlp_ratio": 16.0, "window": 1 << 12},
]


@pytest.mark.parametrize("settings", BOMBS, ids=str)
def test_a_window_that_asks_for_much_is_refused_before_it_is_built(settings, monkeypatch):
    monkeypatch.setattr(module, "Transformer", None)
    with pytest.raises(DamagedFile, match=r"one (window|block) of its model takes .* are allowed"):
        rebuild(parse_artifact(bomb(**settings)))


def test_many_cheap_blocks_are_refused_where_the_text_makes_them_dear(tmp_path):
    (tmp_path / "text.txt").write_text("some text\n" * 60_000)
    settings = {"layers": 28, "width": 16, "heads": 1, "kv_heads": 1, "recur_layers": "[0,27]", "recur_times": 16}
    (tmp_path / "bomb.bin").write_bytes(bomb(**settings, window=64))
    asked = ("verify", "bomb.bin", "--data", "text.txt", "--max-loss", "99")
    refused = golf(*asked, cwd=tmp_path, check=4).stderr
    assert "measuring its model on this text takes" in refused and "--max-flops" in refused
    golf(*asked, "--tokens", "256", cwd=tmp_path)
    golf(*asked, "--tokens", "512", "--max-flops", "1e20", cwd=tmp_path)


def test_an_ordinary_file_of_that_size_is_far_from_the_limits():
    """The quickstart's shape, four times its claim, in 64 kB."""
    shape, limits = Model(layers=4, width=128, heads=2, kv_heads=1), Limits()
    flops = forward_flops(shape, 1024, windows=32, sequence_length=128) * 131_072 / 32 / 128
    assert flops < 0.5 * limits.flops
    assert largest_activation(shape, 1024, sequence_length=1024) < limits.window_bytes


def test_what_a_file_may_ask_for_grows_with_it():
    limits = Limits()
    with pytest.raises(DamagedFile):
        limits.check_flops(1e12, file_size=60_000)
    limits.check_flops(1e12, file_size=200_000)
    limits.check_window(200 << 20, 1e11, file_size=1_000_000)
    with pytest.raises(DamagedFile, match="268,435,456 are allowed"):
        limits.check_window(300 << 20, 1e11, file_size=100_000_000)


def test_flops_are_at_least_those_of_the_products():
    for shape in (Model(layers=3, width=64, heads=4, kv_heads=2), Model(layers=2, recur_layers=(0, 1), recur_times=3)):
        weights = sum(p.numel() for p in _model(shape).parameters() if p.ndim == 2)
        times = 3 if shape.recur_layers else 1
        embedding = 300 * shape.width
        products = 2 * 50 * ((weights - embedding) * times + embedding)
        assert products < forward_flops(shape, 300, windows=1, sequence_length=50)


def _model(shape):
    model = Transformer(shape, 300)
    initialize(model, seed=0)
    return model


def test_a_stop_is_heard_within_a_window():
    """Before each block of a pass, not only between passes."""
    from golf.evaluation.loss import measure_loss

    asked = []
    tokens = torch.randint(300, (65,)).numpy().astype("uint16")
    counts = torch.ones(64, dtype=torch.int64).numpy()
    model = _model(Model(layers=5, width=16, heads=1, kv_heads=1))
    measure_loss(model, tokens, counts, sequence_length=64, stop=lambda: asked.append(1))
    assert len(asked) == 1 + 5
    assert not any(block._forward_pre_hooks for block in model.blocks)
