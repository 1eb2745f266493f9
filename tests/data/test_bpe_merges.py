"""A vocabulary of merges is the same tokenizer, byte for byte; hostile merges are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.data import documents, train_sentencepiece
from golf.data.bpe_merges import pack_merges, unpack_merges
from golf.data.model_proto import PIECE_LIMIT, Piece, PieceType, build_model, parse_model
from golf.recipe import Data

CODE = [f"def f{i}(self, x):\n    if x == {i}:\n\t\treturn '{i % 7}'  # naïve 語\r\n\n" * 3 for i in range(60)]


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_sentencepiece((d.text for d in documents(Data(), "train")), 1024, across_words=True)


def test_the_stdlibs_vocabulary_takes_a_quarter_of_its_bytes_under_zstd(model):
    packed = pack_merges(model)
    assert packed is not None
    assert len(packed) < 1_500  # zstd: 4,769
    assert unpack_merges(packed, vocab_size=1024, limit=len(model)) == model


@pytest.mark.parametrize("across_words", [False, True])
@pytest.mark.parametrize("vocab_size", [300, 333, 400])
def test_what_golf_trains_comes_back_exactly(vocab_size, across_words):
    model = train_sentencepiece(CODE, vocab_size, across_words=across_words)
    packed = pack_merges(model)
    assert packed is not None
    assert unpack_merges(packed, vocab_size=vocab_size, limit=len(model)) == model


def test_a_vocabulary_without_merges_comes_back():
    model = train_sentencepiece(["a" * 100], 261)
    assert (packed := pack_merges(model)) is not None
    assert unpack_merges(packed, vocab_size=261, limit=len(model)) == model


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), max_size=40), st.sampled_from(["a", "xyz", "ab語é "])
)
@settings(max_examples=100, deadline=None)
def test_any_merges_come_back(pairs, characters):
    special = list(parse_model(train_sentencepiece(["a" * 100], 261)).pieces[:260])
    known = list(characters)
    for left, right in pairs:
        text = known[left % len(known)] + known[right % len(known)]
        if text not in known and len(text.encode()) <= PIECE_LIMIT:
            known.append(text)
    texts = known[len(characters) :] + list(characters)
    own = [Piece(text, -float(place), PieceType.NORMAL) for place, text in enumerate(texts)]
    model = build_model(special + own)
    packed = pack_merges(model)
    assert packed is not None
    assert unpack_merges(packed, vocab_size=260 + len(own), limit=len(model)) == model


def test_other_vocabularies_are_left_as_they_are(model):
    pieces = list(parse_model(model).pieces)
    moved = [*pieces[:-1], Piece(pieces[-1].text, -0.5, PieceType.NORMAL)]
    orphan = [*pieces[:260], Piece("qz", 0.0, PieceType.NORMAL), Piece("a", -1.0, PieceType.NORMAL)]
    for other in (build_model(moved), build_model(orphan), model + b"\x12\x00", b"", b"nonsense"):
        assert pack_merges(other) is None


def test_hostile_merges_are_refused_within_their_limit(model):
    packed, rng = pack_merges(model), random.Random(1)
    assert packed is not None
    for _ in range(300):
        altered = bytearray(packed)
        for _ in range(rng.choice((1, 2, 8))):
            altered[rng.randrange(len(altered))] = rng.randrange(256)
        vocab_size = rng.choice((1024, 260, 261, 5000, 1 << 31))
        try:
            found = unpack_merges(bytes(altered[: rng.choice((None, 1, 100))]), vocab_size=vocab_size, limit=len(model))
        except ValueError:
            continue
        assert len(found) <= len(model)


def test_merges_that_double_are_refused_before_they_grow():
    special = list(parse_model(train_sentencepiece(["a" * 100], 261)).pieces[:260])
    texts = ["a" * 2**power for power in range(1, 11)]
    own = [Piece(text, -float(place), PieceType.NORMAL) for place, text in enumerate([*texts, "a"])]
    packed = pack_merges(build_model(special + own))
    assert packed is not None
    with pytest.raises(ValueError, match="longer than 2,000 bytes together"):
        unpack_merges(packed, vocab_size=260 + len(own), limit=2_000)
