"""Preparing: the same text is tokenised once, validation stays apart, and what was damaged is made again."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from golf import recipe
from golf.data import (
    Document,
    TokenSet,
    TokenStream,
    bpe,
    cache,
    documents,
    evaluation_text,
    load_tokenizer,
    prepare,
    train_sentencepiece,
    whole_evaluation_text,
    write_shard,
)
from golf.errors import DamagedFile, DamagedShard, DataError, Interrupted

# The package exports the function under the same name as its module.
MODULE = sys.modules["golf.data.prepare"]
EVALUATION = sys.modules["golf.data.evaluation_text"]
BYTES = recipe.Tokenizer(kind="bytes")
SMALL = recipe.Tokenizer(vocab_size=300)
TEXTS = [f"Record {i}: the quick brown fox no. {i * i} jumps over {i % 17} lazy dogs.\n\tEnd ▁\r\n" for i in range(200)]


@pytest.fixture
def text(tmp_path) -> recipe.Data:
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return recipe.Data(source="text", path=str(path), val_fraction=0.2)


def everything(stream: TokenStream) -> np.ndarray:
    return stream.slice(0, len(stream))


def decoded(found: TokenSet, split: str) -> list[str]:
    """The documents of a split, read back from its tokens: BOS opens each."""
    tokens = everything(getattr(found, split))
    opens = [*np.flatnonzero(tokens == 1).tolist(), len(tokens)]
    assert opens[0] == 0
    return [found.tokenizer.decode(tokens[start:stop]).decode() for start, stop in pairwise(opens)]


def files(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("section", [BYTES, SMALL])
def test_the_streams_are_the_documents_of_the_splits(text, tmp_path, section):
    found = prepare(text, section, cache=tmp_path / "cache")
    for split in ("train", "val"):
        assert decoded(found, split) == [document.text for document in documents(text, split)]


@pytest.mark.parametrize("section", [BYTES, SMALL])
def test_every_byte_of_text_is_counted(text, tmp_path, section):
    found = prepare(text, section, cache=tmp_path / "cache")
    for stream, account in ((found.train, found.train_accounting), (found.val, found.val_accounting)):
        assert found.tokenizer.byte_counts(everything(stream)).sum() == account.text_bytes == account.counted_bytes
        assert account.tokens == len(stream)
        assert account.changed_documents == 0


def test_no_validation_document_reaches_training_or_the_tokenizer(text, tmp_path, monkeypatch):
    """Watched from both ends: what the trainer is fed, and what the training stream decodes to."""
    fed: list[str] = []

    def spy(texts, vocab_size, **keys):
        texts = list(texts)
        fed.extend(texts)
        return train_sentencepiece(texts, vocab_size, **keys)

    monkeypatch.setattr(MODULE, "train_sentencepiece", spy)
    found = prepare(text, SMALL, cache=tmp_path / "cache")
    validation = set(decoded(found, "val"))
    assert len(validation) > 20
    assert not validation & set(fed)
    assert not validation & set(decoded(found, "train"))
    assert validation | set(fed) == set(TEXTS)


def test_a_second_time_gives_the_same_without_training_or_encoding(text, tmp_path, monkeypatch):
    first = prepare(text, SMALL, cache=tmp_path / "cache")
    before = files(tmp_path / "cache")

    def forbidden(*_args: object, **_keys: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(MODULE, "train_sentencepiece", forbidden)
    monkeypatch.setattr(MODULE, "write_split", forbidden)
    again = prepare(text, SMALL, cache=tmp_path / "cache")
    assert files(tmp_path / "cache") == before
    assert again.tokenizer.digest == first.tokenizer.digest
    assert again.val_accounting == first.val_accounting
    assert everything(again.train).tolist() == everything(first.train).tolist()


def test_another_text_or_tokenizer_has_its_own_place(text, tmp_path):
    prepare(text, SMALL, cache=tmp_path / "cache")
    prepare(text, BYTES, cache=tmp_path / "cache")
    prepare(text.model_copy(update={"val_fraction": 0.3}), BYTES, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 3


def test_any_damaged_or_missing_cache_file_is_made_again(text, tmp_path):
    place = tmp_path / "cache"
    prepare(text, SMALL, cache=place)
    sound = files(place)
    assert sorted(Path(name).suffix for name in sound) == [".bin", ".bin", ".json", ".model", ".sha256"]
    for name, content in sound.items():
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for damage in (flipped, content[:-1], None):
            (place / name).unlink() if damage is None else (place / name).write_bytes(damage)
            found = prepare(text, SMALL, cache=place)
            assert len(found.val) == found.val_accounting.tokens
            assert files(place) == sound


def test_two_processes_may_prepare_at_once(text, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    workers = [
        spawn.Process(target=prepare, args=(text, SMALL), kwargs={"cache": tmp_path / "cache"}) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    prepare(text, SMALL, cache=tmp_path / "alone")
    assert files(tmp_path / "cache") == files(tmp_path / "alone")


def test_long_streams_are_cut_into_shards(text, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHARD_TOKENS", 1000)
    found = prepare(text, BYTES, cache=tmp_path / "cache")
    sizes = sorted(f.stat().st_size for f in (tmp_path / "cache").rglob("train_*.bin"))
    assert len(sizes) == -(-len(found.train) // 1000) > 5
    assert set(sizes[1:]) == {1024 + 2000}
    assert decoded(found, "train") == [document.text for document in documents(text, "train")]


def test_stages_report_their_share_from_none_to_all(text, tmp_path):
    heard: list[tuple[str, float]] = []
    prepare(text, SMALL, cache=tmp_path / "cache", progress=lambda stage, share: heard.append((stage, share)))
    for stage in ("tokenizer", "encode train", "encode val"):
        shares = [share for name, share in heard if name == stage]
        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_a_stop_is_heard_wherever_it_comes_and_the_next_run_completes(text, tmp_path):
    """Stopped at the n-th time of asking, for n over the whole preparation."""
    whole = prepare(text, SMALL, cache=tmp_path / "whole")
    asked = 0

    def count() -> bool:
        nonlocal asked
        asked += 1
        return False

    prepare(text, SMALL, cache=tmp_path / "counted", stop=count)
    assert asked > 4 * len(TEXTS) * 0.2
    for n in {*range(0, asked, asked // 6), asked - 1}:
        place, left = tmp_path / f"stopped after {n}", iter(range(n))
        with pytest.raises(Interrupted, match="goes on from what is cached"):
            prepare(text, SMALL, cache=place, stop=lambda left=left: next(left, None) is None)
        assert everything(prepare(text, SMALL, cache=place).val).tolist() == everything(whole.val).tolist()
        assert files(place) == files(tmp_path / "whole")


def test_a_stop_may_raise_itself(text, tmp_path):
    def stop() -> None:
        raise Interrupted("terminated", signal_number=15)

    with pytest.raises(Interrupted) as caught:
        prepare(text, BYTES, cache=tmp_path / "cache", stop=stop)
    assert caught.value.exit_code == 143
    with pytest.raises(Interrupted):
        evaluation_text(text, load_tokenizer("bytes", b""), limit=None, stop=stop)


def test_a_text_that_changes_while_it_is_read_is_not_cached_under_its_old_name(text, tmp_path):
    def edit(stage: str, share: float) -> None:
        if stage == "encode train" and share == 0:
            Path(text.path).write_text("".join(json.dumps({"text": t.upper()}) + "\n" for t in TEXTS))

    with pytest.raises(DataError, match="changed while it was being read"):
        prepare(text, BYTES, cache=tmp_path / "cache", progress=edit)
    assert not list((tmp_path / "cache").rglob("tokens.json"))


@pytest.mark.parametrize("limit", [None, 0, 1, 7, 500, 10**9])
@pytest.mark.parametrize("section", [BYTES, SMALL])
def test_those_who_judge_see_the_same_validation_tokens(text, tmp_path, section, limit):
    found = prepare(text, section, cache=tmp_path / "cache")
    tokens = evaluation_text(text, found.tokenizer, limit=limit).tokens
    assert tokens.dtype == np.uint16
    assert tokens.tolist() == everything(found.val)[:limit].tolist()


def test_those_who_judge_read_no_cache_and_no_more_than_they_need(text, monkeypatch):
    read: list[Document] = []

    def counted(*args: object, **options: object) -> object:
        for document in documents(*args, **options):
            read.append(document)
            yield document

    monkeypatch.setattr(EVALUATION, "documents", counted)
    evaluation_text(text, load_tokenizer("bytes", b""), limit=100)
    assert [document.text for document in read] == [d.text for d in documents(text, "val")][: len(read)]
    assert len(read) < 4


def test_another_text_is_read_whole(text, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("one\ntwo\n")
    tokenizer = load_tokenizer("bytes", b"")
    assert tokenizer.decode(whole_evaluation_text(other, text, tokenizer, limit=None).tokens) == b"one\ntwo\n"
    assert whole_evaluation_text(other, text, tokenizer, limit=3).tokens.tolist() == [1, 4 + ord("o"), 4 + ord("n")]
    write_shard(tmp_path / "x.bin", np.array([1, 5, 6], dtype=np.uint16))
    assert whole_evaluation_text(tmp_path / "x.bin", text, tokenizer, limit=2).tokens.tolist() == [1, 5]


def test_the_standard_library_is_prepared_and_found_again_quickly(tmp_path):
    found = prepare(recipe.Data(), BYTES, cache=tmp_path)
    began = time.process_time()
    again = prepare(recipe.Data(), BYTES, cache=tmp_path)
    assert time.process_time() - began < 1.5
    assert len(again.train) == len(found.train) > 9_000_000
    account = again.val_accounting
    assert found.tokenizer.byte_counts(everything(again.val)).sum() == account.text_bytes
    assert (
        evaluation_text(recipe.Data(), found.tokenizer, limit=5000).tokens.tolist() == again.val.slice(0, 5000).tolist()
    )


@pytest.fixture
def shards(tmp_path) -> recipe.Data:
    folder = tmp_path / "shards"
    for name, tokens in (("b_train_000001", [1, 70]), ("b_train_000000", [1, 68, 69]), ("b_val_000000", [1, 71, 72])):
        write_shard(folder / f"{name}.bin", np.array(tokens, dtype=np.uint16))
    return recipe.Data(source="shards", path=str(folder))


def test_shards_are_taken_as_they_are_in_the_order_of_their_names(shards, tmp_path):
    found = prepare(shards, BYTES, cache=tmp_path / "cache")
    assert everything(found.train).tolist() == [1, 68, 69, 1, 70]
    assert everything(found.val).tolist() == [1, 71, 72]
    assert found.val_accounting is None
    assert not (tmp_path / "cache").exists()
    assert evaluation_text(shards, found.tokenizer, limit=2).tokens.tolist() == [1, 71]
    # what the contest divides by: bytes of the decoded text
    assert found.tokenizer.byte_counts(everything(found.val)).sum() == 2


def test_shards_need_files_of_both_splits_and_a_tokenizer(shards, tmp_path):
    with pytest.raises(DataError, match=r"name its \.model as tokenizer\.path"):
        prepare(shards, SMALL, cache=tmp_path)
    (Path(shards.path) / "b_val_000000.bin").unlink()
    with pytest.raises(DataError, match=r"no file \*val\*\.bin in"):
        prepare(shards, BYTES, cache=tmp_path)


def test_shards_of_another_tokenizer_are_found_out(shards, tmp_path):
    write_shard(Path(shards.path) / "b_val_000000.bin", np.array([1, 71, 1023], dtype=np.uint16))
    found = prepare(shards, BYTES, cache=tmp_path)
    with pytest.raises(DamagedShard, match=r"b_val_000000\.bin: token 1023 at byte 1028 is not below"):
        everything(found.val)


def test_a_given_model_is_used_if_it_is_what_the_recipe_says(text, tmp_path):
    path = tmp_path / "my.model"
    path.write_bytes(train_sentencepiece(TEXTS, 290))
    section = recipe.Tokenizer(vocab_size=290, path=str(path))
    assert prepare(text, section, cache=tmp_path).tokenizer.serialized == path.read_bytes()
    with pytest.raises(DataError, match=r"has 290 pieces, the recipe says 1024; set tokenizer\.vocab_size = 290"):
        prepare(text, recipe.Tokenizer(path=str(path)), cache=tmp_path)
    path.write_bytes(b"junk")
    with pytest.raises(DamagedFile, match=r"my\.model: .*not a usable SentencePiece model"):
        prepare(text, section, cache=tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"my\.model does not exist; check tokenizer\.path"):
        prepare(text, section, cache=tmp_path)


def test_training_time_is_bounded_by_a_sample(monkeypatch):
    """A sample of the smallest hashes: the same whatever the order, and of documents' beginnings only."""
    monkeypatch.setattr(bpe, "_SAMPLE_LIMIT", 2000)
    monkeypatch.setattr(bpe, "_DOCUMENT_LIMIT", 30)
    sample = bpe._sample(TEXTS)
    assert sample == bpe._sample(reversed(TEXTS))
    assert 1900 < sum(map(len, sample)) <= 2000
    assert {len(head) for head in sample} == {30}
