import numpy as np
import pytest
import torch

from golf.compress.fisher import Fisher, estimate_fisher
from golf.compress.size_estimate import estimate_size
from golf.errors import Diverged
from golf.model import Transformer, initialize
from golf.recipe import Model

V = 20


@pytest.fixture
def model():
    made = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), V)
    initialize(made, seed=0)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if p.ndim == 2:
                p.normal_(std=0.4, generator=torch.Generator().manual_seed(len(name)))
    return made


def windows(count, T=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(V, (1, T + 1), generator=generator) for _ in range(count)]


def measured(model, count, smoothing=0.0, damping=1e-6):
    return estimate_fisher(model, windows(count), seed=0, row_smoothing=smoothing, damping=damping)


def divergence(model, name, noise):
    """KL divergence per token, exact, of a weight change from the model's own predictions."""
    inputs = torch.cat(windows(60, seed=5))[:, :-1]
    with torch.no_grad():
        before = model(inputs).log_softmax(-1)
        parameter = dict(model.named_parameters())[name]
        parameter.add_(noise)
        after = model(inputs).log_softmax(-1)
        parameter.sub_(noise)
    return float((before.exp() * (before - after)).sum(-1).mean())


def test_it_predicts_what_small_noise_costs(model):
    """½ Σ F E² is the KL divergence to second order, which is what noise costs a model on its own text."""
    fishers = measured(model, 150)
    generator = torch.Generator().manual_seed(3)
    scale = 3e-3
    for name in ("blocks.0.mlp.up.weight", "blocks.0.attention.value.weight", "embedding.weight"):
        F, shape = fishers[name], dict(model.named_parameters())[name].shape
        costs = [divergence(model, name, scale * torch.randn(shape, generator=generator)) for _ in range(12)]
        predicted = 0.5 * F.rows.sum() * np.trace(F.metric) * scale**2
        # 150 windows of sampled targets and 12 draws of noise leave 10 to 15 % each
        assert predicted == pytest.approx(np.mean(costs), rel=0.4)


def test_it_finds_which_rows_matter(model):
    with torch.no_grad():
        model.blocks[0].mlp.down.weight[:, :8] *= 4  # what the first hidden channels say is heard louder
    F = measured(model, 40)["blocks.0.mlp.up.weight"]
    assert F.rows[:8].mean() > 3 * F.rows[8:].mean()


def test_smoothing_moves_rows_towards_their_mean(model):
    raw, smooth, flat = (measured(model, 20, s)["blocks.0.mlp.up.weight"] for s in (0.0, 0.5, 1.0))
    assert smooth.rows.std() == pytest.approx(raw.rows.std() / 2, rel=0.05)
    assert flat.rows.std() < 1e-12 * flat.rows.mean()


def test_untouched_rows_and_tensors_still_get_a_finite_step(model):
    with torch.no_grad():
        model.blocks[0].attention.output.weight.zero_()  # queries, keys and values have no effect any more
    for F in measured(model, 5).values():
        assert np.isfinite(F.rows).all() and (F.rows > 0).all()
        assert np.isfinite(F.metric).all() and (np.linalg.eigvalsh(F.metric) > 0).all()


def test_the_same_seed_gives_the_same_figures(model):
    first, second = measured(model, 5), measured(model, 5)
    assert all(np.array_equal(first[n].rows, second[n].rows) for n in first)


def test_a_batch_in_parts_gives_the_sums_of_the_whole(model, monkeypatch):
    batch = [torch.cat(windows(6))]
    whole = estimate_fisher(model, batch, seed=0, row_smoothing=0.0, damping=1e-6)
    monkeypatch.setattr("golf.compress.fisher._AT_ONCE", 24)  # two windows of 12
    parts = estimate_fisher(model, batch, seed=0, row_smoothing=0.0, damping=1e-6)
    for name, each in whole.items():
        assert parts[name].rows == pytest.approx(each.rows, rel=1e-4, abs=1e-7)
        assert parts[name].metric == pytest.approx(each.metric, rel=1e-4, abs=1e-4)


def test_a_broken_model_is_refused(model):
    with torch.no_grad():
        model.blocks[0].mlp.up.weight[0, 0] = float("nan")
    with pytest.raises(Diverged, match="not finite"):
        measured(model, 2)


def test_prediction_meets_the_room_and_knows_what_it_costs():
    rng = np.random.default_rng(0)
    matrices = {n: rng.normal(size=(128, 256)).astype(np.float32) * 0.1 for n in "ab"}
    flat = {n: Fisher(np.ones(128), np.eye(256)) for n in "ab"}

    def at(byte_budget, gap=1e-2):
        return estimate_size(matrices, flat, other_bytes=500, byte_budget=byte_budget, target_gap=gap)

    roomy, tight = at(10**6), at(20_000)
    assert roomy.bytes == roomy.wanted_bytes
    assert roomy.gap == pytest.approx(1e-2, rel=0.05)
    assert 19_800 <= tight.bytes <= 20_000
    assert tight.gap > roomy.gap
    assert tight.wanted_bytes == roomy.wanted_bytes
    assert at(100).gap == np.inf
