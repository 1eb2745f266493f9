import math

import numpy as np
import pytest
import torch

from golf.evaluate import bits_per_byte, evaluate, scored_targets
from golf.model import Transformer, initialize
from golf.recipe import Model

V = 16


class Fixed(torch.nn.Module):
    """A model that predicts whatever function of the inputs it is given."""

    def __init__(self, logits):
        super().__init__()
        self.embedding = torch.nn.Embedding(V, 2)
        self._logits, self.vocab_size = logits, V

    def loss(self, windows, *, reduction):
        assert reduction == "none"
        logits = self._logits(windows)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none").view(
            len(windows), -1
        )


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, V, count).astype(np.uint16)


def ones(count):
    return np.ones(count - 1, dtype=np.int64)


def uniform(windows):
    return torch.zeros(len(windows), windows.shape[1] - 1, V)


def test_a_uniform_model_needs_log2_v_bits_a_token():
    text = tokens(1001)
    bytes_each = np.full(1000, 3, dtype=np.int64)
    score = evaluate(Fixed(uniform), text, bytes_each, sequence_length=50)
    assert (score.tokens, score.bytes) == (1000, 3000)
    assert score.loss == pytest.approx(math.log(V), abs=1e-6)
    assert score.bpb == pytest.approx(math.log2(V) / 3, abs=1e-6)


def test_a_model_that_knows_the_target_needs_nothing():
    def oracle(windows):
        return 100.0 * torch.nn.functional.one_hot(windows[:, 1:], V).float()

    assert evaluate(Fixed(oracle), tokens(501), ones(501), sequence_length=100).bpb == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("length", "T", "targets"), [(101, 10, 100), (110, 10, 100), (5, 10, 4), (2, 10, 1), (1, 10, 0)]
)
def test_whole_windows_are_scored_as_in_the_contest(length, T, targets):
    assert scored_targets(length, T) == targets
    score = evaluate(Fixed(uniform), tokens(length), ones(length), sequence_length=T)
    assert score.tokens == score.bytes == targets


def test_every_target_is_scored_once_in_order():
    seen = []

    def spy(windows):
        seen.extend(windows[:, 1:].flatten().tolist())
        return uniform(windows)

    text = tokens(9001)
    evaluate(Fixed(spy), text, ones(9001), sequence_length=90)
    assert seen == text[1:].tolist()


def test_batching_does_not_change_the_score():
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), V)
    initialize(model, seed=0)
    text = tokens(4 * 4096 + 1)
    whole = evaluate(model, text, ones(len(text)), sequence_length=64)
    parts = [evaluate(model, text[i : i + 65], ones(65), sequence_length=64).loss for i in range(0, len(text) - 1, 64)]
    assert whole.loss == pytest.approx(np.mean(parts), abs=1e-6)


def test_changing_later_text_changes_no_earlier_score():
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), V)
    initialize(model, seed=0)
    text = torch.from_numpy(tokens(65).astype(np.int64))[None]
    before = model.loss(text, reduction="none")
    text[0, 40:] = (text[0, 40:] + 1) % V
    assert torch.equal(before[:, :39], model.loss(text, reduction="none")[:, :39])


def test_bits_per_byte_of_no_bytes_is_infinite():
    assert bits_per_byte(1.0, tokens=5, bytes_=0) == math.inf


def test_a_stop_ends_the_work():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(Fixed(uniform), tokens(101), ones(101), sequence_length=10, stop=stop)
