"""Whose tokens the shards of a folder are."""

import pytest

from golf.data import ByteTokenizer, holds_shards, load_tokenizer, tokenizer_of_shards, train_sentencepiece
from golf.errors import UsageError


@pytest.fixture(scope="module")
def models():
    texts = [f"word {i} and a few letters: {chr(97 + i % 26) * 3}" for i in range(300)]
    return [train_sentencepiece(texts, pieces) for pieces in (280, 281)]


def test_artifacts_are_no_shards(tmp_path):
    (tmp_path / "artifact.bin").touch()
    assert not holds_shards(tmp_path)
    assert holds_shards(tmp_path / "artifact.bin")  # which reading it will refuse
    (tmp_path / "fineweb_val_000000.bin").touch()
    assert holds_shards(tmp_path)
    assert not holds_shards(tmp_path / "nowhere")


def test_the_contests_folders_are_known(tmp_path, models):
    folder, tokenizers = tmp_path / "datasets" / "fineweb10B_sp1024", tmp_path / "tokenizers"
    for place in (folder, tokenizers):
        place.mkdir(parents=True)
    ours, theirs = (load_tokenizer("sentencepiece", model) for model in models)
    assert tokenizer_of_shards(folder, ours) is None  # nothing says whose they are
    assert tokenizer_of_shards(folder, ByteTokenizer()) == "byte tokens"
    (tmp_path / "given.model").write_bytes(ours.serialized)
    assert tokenizer_of_shards(folder, ours, given=tmp_path / "given.model") == str(tmp_path / "given.model")
    with pytest.raises(UsageError, match="another tokenizer"):
        tokenizer_of_shards(folder, theirs, given=tmp_path / "given.model")
    (tokenizers / "theirs.model").write_bytes(theirs.serialized)
    with pytest.raises(UsageError, match="another tokenizer"):
        tokenizer_of_shards(folder, ours)
    assert tokenizer_of_shards(folder, ByteTokenizer()) == "byte tokens"  # which have no file there
    (tokenizers / "ours.model").write_bytes(ours.serialized)
    assert tokenizer_of_shards(folder, ours) is None  # a model must not choose among several
    (tokenizers / "ours.model").rename(tokenizers / "fineweb_1024_bpe.model")
    assert tokenizer_of_shards(folder / "fineweb_val_000000.bin", ours) == str(tokenizers / "fineweb_1024_bpe.model")
    assert tokenizer_of_shards(folder, theirs) is None
    (folder / "tokenizer.model").write_bytes(theirs.serialized)
    with pytest.raises(UsageError, match="another tokenizer"):
        tokenizer_of_shards(folder, ours)
