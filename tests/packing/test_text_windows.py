"""Which training text a pack reads: nothing of what it measures on is ever fine-tuned on."""

import numpy as np
import pytest
import torch

from golf.data import TokenStream, write_shard
from golf.packing.text_windows import TextWindows

T = 8


@pytest.fixture
def windows(tmp_path):
    def of(tokens, seed=1):
        """A text in which every token is its own place."""
        write_shard(tmp_path / "train.bin", np.arange(tokens, dtype=np.uint16))
        return TextWindows(TokenStream([tmp_path / "train.bin"], vocab_size=65536), T, seed, 260, torch.device("cpu"))

    return of


def targets(batches):
    return {token for batch in batches for token in batch[:, 1:].flatten().tolist()}


def test_fine_tuning_never_reads_what_is_held_out_in_any_epoch(windows):
    text = windows(20_000)
    held = targets(text.held_out())
    assert len(held) == pytest.approx(
        5_000, rel=0.01
    )  # a quarter of a text that has less than four times HELD_OUT_TOKENS
    read = targets(text.fine_tuning(40_000, batch_tokens=64))
    assert len(read) > 10_000
    assert not held & read


def test_windows_follow_from_the_seed(windows):
    text, again, other = windows(60_000), windows(60_000), windows(60_000, seed=2)
    for kind in ("held_out", "fine_tuning", "calibration"):
        given = {"fine_tuning": ((512,), {"batch_tokens": 64}), "calibration": ((512,), {})}.get(kind, ((), {}))
        first, same, different = (
            torch.cat(list(getattr(t, kind)(*given[0], **given[1]))) for t in (text, again, other)
        )
        assert torch.equal(first, same)
        assert not torch.equal(first, different)


@pytest.mark.parametrize("tokens", [10, 30, 200])
def test_a_text_of_few_windows_is_still_read(windows, tokens):
    text = windows(tokens)
    assert sum(len(batch) for batch in text.held_out()) >= 1
    assert sum(batch[:, 1:].numel() for batch in text.fine_tuning(64, batch_tokens=16)) == 64


def test_batches_are_whole_windows_of_about_the_tokens_asked_for(windows):
    text = windows(60_000)
    assert text.batch_size(100, batch_tokens=60) == 56
    assert text.count(100, batch_tokens=60) == 1
    assert [tuple(batch.shape) for batch in text.fine_tuning(120, batch_tokens=30)] == [(3, T + 1)] * 5
    assert [tuple(batch.shape) for batch in text.random(2, batch_tokens=30)] == [(3, T + 1)] * 2
