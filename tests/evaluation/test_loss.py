import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from golf.evaluation.loss import bits_per_byte, measure_loss, scored_targets, spans
from golf.model import Transformer, initialize
from golf.recipe import Model

V = 16


class Fixed(torch.nn.Module):
    """A model that predicts whatever function of the inputs it is given."""

    def __init__(self, logits):
        super().__init__()
        self.embedding = torch.nn.Embedding(V, 2)
        self._logits, self.vocab_size = logits, V
        self.shape, self.blocks = Model(width=8), []

    def loss(self, windows, *, reduction):
        assert reduction == "none"
        logits = self._logits(windows)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="none").view(
            len(windows), -1
        )


def small_model():
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), V)
    initialize(model, seed=0)
    torch.nn.init.normal_(model.embedding.weight, generator=torch.Generator().manual_seed(1))
    return model


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, V, count).astype(np.uint16)


def ones(count):
    return np.ones(count - 1, dtype=np.int64)


def uniform(windows):
    return torch.zeros(len(windows), windows.shape[1] - 1, V)


def test_a_uniform_model_needs_log2_v_bits_a_token():
    text = tokens(1001)
    bytes_each = np.full(1000, 3, dtype=np.int64)
    score = measure_loss(Fixed(uniform), text, bytes_each, sequence_length=50)
    assert (score.tokens, score.bytes) == (1000, 3000)
    assert score.loss == pytest.approx(math.log(V), abs=1e-6)
    assert score.bpb == pytest.approx(math.log2(V) / 3, abs=1e-6)


def test_a_model_that_knows_the_target_needs_nothing():
    def oracle(windows):
        return 100.0 * torch.nn.functional.one_hot(windows[:, 1:], V).float()

    assert measure_loss(Fixed(oracle), tokens(501), ones(501), sequence_length=100).bpb == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("length", "T", "targets"), [(101, 10, 100), (110, 10, 100), (5, 10, 4), (2, 10, 1), (1, 10, 0)]
)
def test_whole_windows_are_scored_as_in_the_contest(length, T, targets):
    assert scored_targets(length, T) == targets
    score = measure_loss(Fixed(uniform), tokens(length), ones(length), sequence_length=T)
    assert score.tokens == score.bytes == targets


def test_every_target_is_scored_once_in_order():
    seen = []

    def spy(windows):
        seen.extend(windows[:, 1:].flatten().tolist())
        return uniform(windows)

    text = tokens(9001)
    measure_loss(Fixed(spy), text, ones(9001), sequence_length=90)
    assert seen == text[1:].tolist()


def test_batching_does_not_change_the_score():
    model = Transformer(Model(layers=1, width=16, heads=2, kv_heads=1), V)
    initialize(model, seed=0)
    text = tokens(4 * 4096 + 1)
    whole = measure_loss(model, text, ones(len(text)), sequence_length=64)
    parts = [
        measure_loss(model, text[i : i + 65], ones(65), sequence_length=64).loss for i in range(0, len(text) - 1, 64)
    ]
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
        measure_loss(Fixed(uniform), tokens(101), ones(101), sequence_length=10, stop=stop)


@given(st.integers(0, 300), st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(1, 299), max_size=6))
def test_sliding_windows_score_every_target_once(length, window, stride, cuts):
    stride = min(stride, window)
    documents = np.array([0, *sorted({cut for cut in cuts if cut < length - 1})])
    for starts in (None, documents):
        places = spans(length, window=window, stride=stride, documents=starts)
        scored = [target for start, end, first in places.tolist() for target in range(first, end)]
        assert scored == list(range(max(0, length - 1)))
        for start, end, first in places.tolist():
            assert end - start <= window
            assert start <= first < end <= start + window
            low = 0 if starts is None else starts[starts <= first].max()
            assert start >= low and end <= length - 1
            # all the context there is, up to the window less a stride
            assert first - start >= min(first - low, window - stride)


def test_a_stride_of_a_whole_window_is_the_contests_default():
    assert spans(101, window=10, stride=10).tolist() == spans(101, window=10).tolist()
    assert spans(105, window=10, stride=10)[:-1].tolist() == spans(105, window=10).tolist()


def test_sliding_by_one_gives_every_prediction_its_longest_context():
    model = small_model()
    text, T = tokens(60), 16
    found = measure_loss(model, text, ones(60), sequence_length=T, stride=1)
    single = []
    for target in range(1, 60):
        window = torch.from_numpy(text[max(0, target - T) : target + 1].astype(np.int64))[None]
        single.append(float(model.loss(window, reduction="none").detach()[0, -1]))
    assert (found.tokens, found.bytes) == (59, 59)
    assert found.loss == pytest.approx(np.mean(single), abs=1e-6)


def test_a_reset_is_scoring_each_document_alone():
    model, text = small_model(), tokens(90)
    documents = np.array([0, 7, 40, 41, 80])
    found = measure_loss(model, text, ones(90), sequence_length=12, stride=5, documents=documents)
    parts = []
    for low, high in pairwise([*documents, 89]):
        alone = measure_loss(model, text[low : high + 1], ones(high - low + 1), sequence_length=12, stride=5)
        parts.append(alone.loss * alone.tokens)
    assert found.tokens == 89
    assert found.loss == pytest.approx(sum(parts) / 89, abs=1e-6)


def test_only_scored_targets_bytes_count():
    sizes = np.arange(1, 101)
    assert measure_loss(Fixed(uniform), tokens(101), sizes, sequence_length=30).bytes == sizes[:90].sum()
    assert measure_loss(Fixed(uniform), tokens(101), sizes, sequence_length=30, stride=7).bytes == sizes.sum()


def test_a_stride_beyond_the_window_is_refused():
    with pytest.raises(ValueError, match="stride 11"):
        spans(100, window=10, stride=11)


def test_probabilities_sum_to_one():
    logits = small_model()(torch.from_numpy(tokens(33).astype(np.int64))[None])
    assert torch.allclose(logits.double().softmax(-1).sum(-1), torch.ones(1, 33, dtype=torch.float64), atol=1e-12)


def test_scoring_leaves_the_model_as_it_was():
    model = small_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    measure_loss(model, tokens(200), ones(200), sequence_length=16, stride=4)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    # nothing learns from what it has scored: a second reading is the first
    first, second = (measure_loss(model, tokens(200), ones(200), sequence_length=16, stride=4).loss for _ in range(2))
    assert first == second
