"""Tokens and bytes: nothing is lost, every byte is counted once, and hostile models are refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from golf.data import Tokenizer, accounting, documents, load_tokenizer, train_sentencepiece, whole_text
from golf.data.model_proto import Piece, PieceType, build_model, parse_model
from golf.data.tokenizer import _parts, with_bos
from golf.errors import DamagedFile, DataError
from golf.recipe import Data

SHARED = Path(__file__).parents[3] / "shared" / "data"
CODE = [f"def f{i}(self, x):\n    if x == {i}:\n\t\treturn '{i % 7}'  # naïve 語\r\n\n" * 3 for i in range(60)]
SPECIAL = [Piece("<pad>", 0.0, PieceType.CONTROL), Piece("<s>", 0.0, PieceType.CONTROL)]
SPECIAL += [Piece("</s>", 0.0, PieceType.CONTROL), Piece("<unk>", 0.0, PieceType.UNKNOWN)]
BYTES = [Piece(f"<0x{byte:02X}>", 0.0, PieceType.BYTE) for byte in range(256)]

any_text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\r\n▁▅\0\ue000\u0301🐍"))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not among the shared data")
    return path


@pytest.fixture(scope="module")
def stdlib_model() -> bytes:
    return train_sentencepiece((d.text for d in documents(Data(), "train")), 1024)


@pytest.fixture(scope="module")
def tokenizers() -> list[Tokenizer]:
    """Every kind that golf makes: bytes, pieces across words and within them, without a merge, without a space."""
    models = [
        train_sentencepiece(CODE, 320),
        train_sentencepiece(CODE, 320, across_words=True),
        train_sentencepiece(CODE, 260),
        train_sentencepiece(["ab" * 999], 266),
    ]
    return [load_tokenizer("bytes", b""), *(load_tokenizer("sentencepiece", model) for model in models)]


@pytest.fixture(scope="module")
def contest() -> Tokenizer:
    return load_tokenizer("sentencepiece", shared("fineweb_1024_bpe.model").read_bytes())


@given(any_text)
@example("")
@example("  leading, and trailing \t ")
@example("\0 a▁b ▁▁ \r\n\r\n<s></s><unk><0x41> \ufeff\ufffd\u0301")
def test_every_text_comes_back_and_every_byte_is_counted(tokenizers, text):
    for tokenizer in tokenizers:
        tokens = tokenizer.encode(text)
        assert tokens.dtype == np.uint16
        assert tokenizer.decode(tokens) == text.encode()
        counts = tokenizer.byte_counts(with_bos(tokenizer, text))
        assert counts.dtype == np.int64
        assert counts.sum() == len(text.encode())


def test_bytes_per_token_count_the_decoded_text_for_random_tokens(tokenizers, contest):
    """Not only for tokens that an encoder gives: a generated text is counted right as well."""
    rng = np.random.default_rng(0)
    for tokenizer in [*tokenizers, contest]:
        for _ in range(100):
            tokens = rng.integers(0, tokenizer.vocab_size, 40, dtype=np.uint16)
            decoded = [tokenizer.decode(tokens[i : i + 1], previous=int(tokens[i - 1])) for i in range(1, 40)]
            assert tokenizer.byte_counts(tokens).tolist() == [len(part) for part in decoded]
            assert b"".join(decoded) == tokenizer.decode(tokens[1:], previous=int(tokens[0]))


def test_byte260_is_the_contests_layout():
    tokenizer = load_tokenizer("bytes", b"")
    assert (tokenizer.kind, tokenizer.vocab_size, tokenizer.bos_id, tokenizer.serialized) == ("bytes", 260, 1, b"")
    assert tokenizer.encode("Aé\0").tolist() == [69, 4 + 0xC3, 4 + 0xA9, 4]
    assert tokenizer.decode(np.array([1, 69, 2, 3, 0, 259])) == b"A\xff"
    assert tokenizer.packed_size == 0


def test_digests_tell_tokenizers_apart(tokenizers):
    assert len({tokenizer.digest for tokenizer in tokenizers}) == len(tokenizers)
    again = load_tokenizer(tokenizers[1].kind, tokenizers[1].serialized)
    assert again.digest == tokenizers[1].digest


def contest_rule(model: Path, tokens: np.ndarray) -> np.ndarray:
    """The contest's own byte count, after its description, on SentencePiece's view of the model."""
    sp = sentencepiece.SentencePieceProcessor(model_file=str(model))
    counts = []
    for previous, token in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        silent = [sp.is_control(t) or sp.is_unknown(t) or sp.is_unused(t) for t in (previous, token)]
        piece = sp.id_to_piece(token)
        leading = piece.startswith("▁")
        base = 0 if silent[1] else 1 if sp.is_byte(token) else len(piece[leading:].encode())
        counts.append(base + (leading and not silent[1] and not silent[0]))
    return np.array(counts)


def test_the_contests_tokenizer_is_counted_by_the_contests_rule(contest):
    rng = np.random.default_rng(1)
    text = shared("fineweb_sample.txt").read_text("utf-8")[:20_000]
    tokens = np.concatenate([with_bos(contest, text), rng.integers(0, 1024, 3000, dtype=np.uint16)])
    expected = contest_rule(SHARED / "fineweb_1024_bpe.model", tokens)
    assert contest.byte_counts(tokens).tolist() == expected.tolist()


def test_a_given_tokenizer_that_normalises_shows_its_loss(contest):
    """The contest's model folds line ends into spaces and has no byte pieces: its tokens count fewer bytes."""
    path = shared("wikitext2_valid.txt")
    lossy = accounting(contest, list(whole_text(path, Data()))[:10])
    assert lossy.changed_documents == lossy.documents == 10
    assert 0.9 < lossy.counted_bytes / lossy.text_bytes < 1
    exact = accounting(load_tokenizer("bytes", b""), whole_text(path, Data()))
    assert exact.changed_documents == 0
    assert exact.counted_bytes == exact.text_bytes == path.stat().st_size


def test_the_standard_library_is_dense_and_counted_to_the_byte(stdlib_model):
    tokenizer = load_tokenizer("sentencepiece", stdlib_model)
    found = accounting(tokenizer, documents(Data(), "val"))
    assert found.counted_bytes == found.text_bytes
    assert found.changed_documents == 0
    # 2.60 on CPython 3.11; other versions have other files in the split
    assert found.text_bytes / (found.tokens - found.documents) > 2.5


def test_a_trained_model_is_exact_small_and_ordered_like_the_contests(stdlib_model):
    model = parse_model(stdlib_model)
    assert len(model.pieces) == 1024
    assert model.lossless
    assert list(model.pieces[:4]) == SPECIAL
    assert [piece.byte for piece in model.pieces[4:260]] == list(range(256))
    assert {"▁", "▁▁▁▁", "▁self", "return"} <= {piece.text for piece in model.pieces}
    assert len(stdlib_model) < 17_000
    assert load_tokenizer("sentencepiece", stdlib_model).packed_size < 1_600


def test_training_gives_the_same_bytes_whatever_the_order():
    shuffled = CODE.copy()
    random.Random(0).shuffle(shuffled)
    assert train_sentencepiece(shuffled, 300) == train_sentencepiece(CODE, 300)


@pytest.mark.parametrize(
    "text", ["hello world, hello", "", "▁\0", "語学" * 9, "".join(map(chr, range(0x4E00, 0x5000)))]
)
def test_too_little_text_names_the_largest_vocabulary_that_works(text):
    with pytest.raises(DataError, match="the largest that works is") as caught:
        train_sentencepiece([text], 4096)
    largest = int(str(caught.value).rpartition(" ")[2])
    assert load_tokenizer("sentencepiece", train_sentencepiece([text], largest)).vocab_size == largest
    with pytest.raises(DataError, match=f"the largest that works is {largest}"):
        train_sentencepiece([text], largest + 1)


def test_a_script_of_thousands_of_characters_still_trains():
    text = "".join(map(chr, range(0x4E00, 0x5A00))) * 2
    assert load_tokenizer("sentencepiece", train_sentencepiece([text], 1024)).vocab_size == 1024


pieces = st.lists(
    st.builds(
        Piece,
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.sampled_from([PieceType.NORMAL, PieceType.USER_DEFINED, PieceType.UNUSED]),
    ),
    unique_by=lambda piece: piece.text,
    max_size=9,
).filter(lambda found: not {p.text for p in found} & {p.text for p in SPECIAL + BYTES})


@given(pieces)
@settings(max_examples=40)
def test_a_model_file_reads_back_as_it_was_built(extra):
    model = parse_model(build_model(SPECIAL + BYTES + extra))
    assert list(model.pieces) == SPECIAL + BYTES + extra
    assert model.lossless


@pytest.mark.parametrize(
    ("forged", "complaint"),
    [
        (b"", "unknown piece"),
        (b"\0" * (16 << 20) + b"\0", "limit"),
        (b"\x0a\xff\xff\xff\xff\x0f", "past the end"),
        (b"\x80" * 20, "ten bytes"),
        (b"\x0b", "wire type"),
        (build_model(SPECIAL + BYTES) + b"\x0a\x02\x0a\x00", "0 bytes"),
        (build_model([*SPECIAL, *BYTES, Piece("a", float("nan"), PieceType.NORMAL)]), "not finite"),
        (build_model([*SPECIAL, *BYTES, Piece("<s>", 0.0, PieceType.NORMAL)]), "two pieces are equal"),
        (build_model([*SPECIAL, *BYTES[:-1], Piece("<0xfg>", 0.0, PieceType.BYTE)]), "byte piece"),
        (build_model([SPECIAL[0], *SPECIAL[2:], *BYTES]), "opens a document"),
        (build_model([SPECIAL[1], SPECIAL[3], *BYTES]), "opens a document"),
        (build_model([*SPECIAL, *BYTES, *(Piece(f"x{i}", 0.0, PieceType.NORMAL) for i in range(65536))]), "65536"),
        (build_model(SPECIAL + BYTES) + b"\x1a\x02\x1a\x00", "field 3 is no number"),
        (build_model(SPECIAL + BYTES) + b"\x0a\x03\x0a\x01\xff", "utf-8"),
        (build_model(SPECIAL + BYTES) + b"\x0a\x05\x0a\x01a\x18\x09", "PieceType"),
    ],
)
def test_forged_models_are_refused(forged, complaint):
    with pytest.raises(DamagedFile, match=f"tokenizer: .*({complaint})"):
        load_tokenizer("sentencepiece", forged)


def test_kinds_are_strict():
    with pytest.raises(DamagedFile, match="no serialized form"):
        load_tokenizer("bytes", b"x")
    with pytest.raises(DamagedFile, match="neither bytes nor sentencepiece"):
        load_tokenizer("tiktoken", b"")


def test_mutated_models_load_consistently_or_are_refused(capfd):
    sound = train_sentencepiece(CODE, 300)
    rng = random.Random(0)
    refused = 0
    for _ in range(400):
        mutant = bytearray(sound)
        for _ in range(rng.randint(1, 3)):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        try:
            tokenizer = load_tokenizer("sentencepiece", bytes(mutant[: rng.choice([None, rng.randrange(len(mutant))])]))
        except DamagedFile:
            refused += 1
            continue
        tokens = with_bos(tokenizer, "def f(x):\n    return ▁")
        assert tokens.max() < tokenizer.vocab_size
        assert tokenizer.byte_counts(tokens).sum() == len(tokenizer.decode(tokens))
    assert refused > 150
    assert capfd.readouterr() == ("", "")


def test_a_long_text_has_the_same_tokens_in_parts(contest, stdlib_model, monkeypatch):
    """With the contest's tokenizer exactly; a lossless one of golf's may differ at the cuts, and loses nothing."""
    monkeypatch.setattr("golf.data.tokenizer._PART", 300)
    monkeypatch.setattr("golf.data.tokenizer._BLOCK", 100)
    text = "".join(f"word{i} and{' ' * (i % 3 + 1)}more, until line {i * i}.\n" for i in range(400)) + "x" * 1000
    assert contest.encode(text).tolist() == contest._processor.encode(text)
    for tokenizer in (load_tokenizer("sentencepiece", stdlib_model), load_tokenizer("bytes", b"")):
        tokens = with_bos(tokenizer, text)
        assert tokenizer.decode(tokens) == text.encode()
        assert tokenizer.spells(tokens, text.encode())
        assert not tokenizer.spells(tokens, text.encode() + b"x") and not tokenizer.spells(tokens, text.encode()[:-1])
        assert tokenizer.count_bytes(tokens) == tokenizer.byte_counts(tokens).sum() == len(text.encode())


@pytest.mark.parametrize(
    "text", [" " * 4000, "  a" * 2000, "x" * 4000, "\n" * 4000, "ab" * 3000, "語" * 3000, " x" * 2000]
)
def test_texts_without_a_good_cut_are_cut_quickly_and_lose_nothing(text, contest, stdlib_model, monkeypatch):
    monkeypatch.setattr("golf.data.tokenizer._PART", 300)
    lossless = load_tokenizer("sentencepiece", stdlib_model)
    assert lossless.decode(lossless.encode(text)) == text.encode()
    assert len(list(_parts(text))) <= len(text) / 100
    assert contest.decode(contest.encode(text)) == contest.decode(np.array(contest._processor.encode(text)))
