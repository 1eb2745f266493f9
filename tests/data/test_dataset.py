"""`golf data`: text becomes shards that a recipe can train on, whoever counts them."""

import hashlib
import json
from itertools import pairwise

import numpy as np
import pytest
from cli import golf, golf_json

from golf.data import TokenStream, open_shard, write_shard
from golf.data.dataset import prepare_dataset
from golf.data.shardset import make_shards
from golf.data.tokenizer import ByteTokenizer
from golf.errors import DamagedShard, DataError, Interrupted, UsageError
from golf.runtime.interrupt import StopFlag


def text_of(tokens):
    """Documents behind byte tokens."""
    ids = tokens.tolist()
    cuts = [i for i, token in enumerate(ids) if token == 1] + [len(ids)]
    return [bytes(t - 4 for t in ids[a + 1 : b]).decode() for a, b in pairwise(cuts)]


@pytest.fixture
def corpus(tmp_path):
    """Two hundred documents, some of them twice, as .jsonl and plain text."""
    records = [{"text": f"document {i % 150}: " + "word " * (i % 150)} for i in range(200)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "b.txt").write_text("a line of text\n" * 2000)
    return tmp_path


def prepared(corpus, out, *more):
    arguments = ("data", "prepare", corpus / "a.jsonl", corpus / "b.txt", "--out", out, "--val-fraction", "0.2")
    return golf_json(*arguments, *more, cwd=corpus)


def test_documents_come_back_split_without_overlap(corpus):
    result = prepared(corpus, corpus / "out", "--tokenizer", "bytes", "--workers", "1")
    splits = {s: text_of(open_shard(corpus / "out" / f"text_{s}_000000.bin", 260)) for s in ("train", "val")}
    assert not set(splits["train"]) & set(splits["val"])
    whole = sorted(splits["train"] + splits["val"])
    assert sum(text.startswith("document") for text in whole) == 200
    assert "".join(t for t in splits["train"] if t.startswith("a line")) != ""
    for split, documents in splits.items():
        entry = result["splits"][split]
        assert entry["documents"] == len(documents)
        assert entry["text_bytes"] == entry["counted_bytes"] == sum(len(text.encode()) for text in documents)
        assert entry["tokens"] == entry["text_bytes"] + entry["documents"]


def test_the_number_of_workers_changes_no_byte(corpus):
    digests = []
    for workers in ("1", "2"):
        out = corpus / f"by{workers}"
        prepared(corpus, out, "--tokenizer", "sp:300", "--workers", workers)
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())])
    assert len(digests[0]) == 3  # two shards and the tokenizer
    assert digests[0] == digests[1]


def test_prepared_shards_train_pack_and_verify(corpus):
    arguments = ("a.jsonl", "b.txt", "--out", "shards", "--val-fraction", "0.2", "--tokenizer", "sp:300")
    out = golf("data", "prepare", *arguments, "--workers", "1", cwd=corpus).stdout
    recipe = out[out.index("[data]") :]
    assert 'path = "shards/tokenizer.model"' in recipe
    (corpus / "r.toml").write_text(
        'name = "r"\n' + recipe + "\n[model]\nlayers = 1\nwidth = 16\nheads = 2\nkv_heads = 1\n"
        "[train]\nsteps = 3\nbatch_tokens = 128\nsequence_length = 32\n[verify]\ntokens = 256\n"
    )
    golf("train", "r.toml", cwd=corpus)
    golf("pack", "--cap", "1MB", cwd=corpus)
    golf("verify", "artifact.bin", cwd=corpus)
    assert golf_json("evaluate", "artifact.bin", "--data", "shards", "--stride", "8", cwd=corpus)["tokens"] > 256


def test_info_counts_what_prepare_wrote(corpus):
    result = prepared(corpus, corpus / "out", "--tokenizer", "sp:300", "--workers", "1")
    info = golf_json("data", "info", corpus / "out", cwd=corpus)
    assert info["vocab_size"] == 300
    for shard, split in zip(info["shards"], ("train", "val"), strict=True):
        entry = result["splits"][split]
        assert (shard["tokens"], shard["documents"]) == (entry["tokens"], entry["documents"])
        assert shard["bytes"] == entry["counted_bytes"]
    assert "total" in golf("data", "info", corpus / "out", cwd=corpus).stdout


def test_info_knows_bytes(corpus):
    result = prepared(corpus, corpus / "plain", "--tokenizer", "bytes", "--workers", "1")
    info = golf_json("data", "info", corpus / "plain", "--tokenizer", "bytes", cwd=corpus)
    assert info["shards"][0]["bytes"] == result["splits"]["train"]["counted_bytes"]
    assert 'kind = "bytes"' in golf("data", "info", corpus / "plain", "--tokenizer", "bytes", cwd=corpus).stdout


def test_shards_are_cut_at_their_size(tmp_path):
    records = [{"text": f"{i} " * 100} for i in range(60)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    options = {"name": "n", "text_field": "text", "val_fraction": 0.5, "workers": 1, "shard_tokens": 1000}
    made = make_shards([tmp_path / "t.jsonl"], ByteTokenizer(), out=tmp_path / "out", **options)
    total = 0
    for files in made.files.values():
        sizes = [len(open_shard(path)) for path in files]
        assert len(sizes) > 3
        assert all(size == 1000 for size in sizes[:-1])
        assert 0 < sizes[-1] <= 1000
        total += sum(sizes)
    assert total == sum(1 + len(record["text"]) for record in records)


def test_a_split_that_comes_out_empty_is_said(tmp_path):
    (tmp_path / "t.txt").write_text("one document")
    with pytest.raises(DataError, match=r"no document of 1 falls into the (val|train) split at a share of 0.5; take a"):
        make_shards([tmp_path / "t.txt"], ByteTokenizer(), out=tmp_path / "o", name="n", text_field="text",
                    val_fraction=0.5, workers=1)  # fmt: skip


def test_shards_are_not_written_over(corpus):
    prepared(corpus, corpus / "out", "--tokenizer", "bytes", "--workers", "1")
    done = golf("data", "prepare", "b.txt", "--out", "out", "--tokenizer", "bytes", cwd=corpus, check=2)
    assert "is there already" in done.stderr
    with pytest.raises(UsageError, match="is there already"):
        make_shards(
            [], ByteTokenizer(), out=corpus / "out", name="text", text_field="text", val_fraction=0.5, workers=1
        )


FAILING = {"field": ("a.jsonl", "--text-field", "body"), "split": ("short.txt",), "late": ("b.txt", "broken.jsonl")}


@pytest.mark.parametrize("kind", FAILING)
@pytest.mark.parametrize("out", ["new", "new/deep", "old"])
def test_a_failed_attempt_leaves_nothing_that_was_not_there(corpus, kind, out, monkeypatch):
    monkeypatch.setattr(make_shards, "__kwdefaults__", make_shards.__kwdefaults__ | {"shard_tokens": 1000})
    monkeypatch.setattr("golf.data.shardset._CHUNK", 2000)  # so that shards are written before the text breaks
    prepared(corpus, corpus / "first", "--tokenizer", "sp:300", "--workers", "1")
    (corpus / "short.txt").write_text("one document, so that a split stays empty")
    (corpus / "broken.jsonl").write_text('{"text": "a"}\n{"text": 5}\n')
    (corpus / "old").mkdir()
    (corpus / "old" / "mine.txt").write_text("keep me")
    before = sorted(corpus.rglob("*"))
    given = ("--out", out, "--workers", "1", "--val-fraction", "0.5", "--tokenizer", "first/tokenizer.model")
    golf("data", "prepare", *FAILING[kind], *given, cwd=corpus, check=2)
    assert sorted(corpus.rglob("*")) == before


def test_a_stopped_attempt_leaves_nothing(corpus):
    stop = StopFlag()
    stop.receive(2)
    with pytest.raises(Interrupted, match="none is kept"):
        prepare_dataset([corpus / "b.txt"], tokenizer="bytes", out=corpus / "out", name="n", text_field="text",
                        val_fraction=0.5, workers=1, stop=stop)  # fmt: skip
    assert not (corpus / "out").exists()


def test_shards_keep_the_tokenizer_that_made_them(corpus):
    prepared(corpus, corpus / "out", "--tokenizer", "sp:300", "--workers", "1")
    before = (corpus / "out" / "tokenizer.model").read_bytes()
    for name, message in (("text", "is there already"), ("other", "is another tokenizer")):
        given = ("data", "prepare", "b.txt", "--out", "out", "--name", name, "--tokenizer", "sp:280")
        assert message in golf(*given, "--workers", "1", cwd=corpus, check=2).stderr
    assert (corpus / "out" / "tokenizer.model").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("prepare", "b.txt", "--out", "o", "--tokenizer", "sp:many"), 2, "write the number of pieces"),
        (("prepare", "b.txt", "--out", "o", "--tokenizer", "no.model"), 2, "no.model does not exist"),
        (("prepare", "b.txt", "--out", "o", "--tokenizer", "b.txt"), 4, "b.txt"),
        (("prepare", "a.jsonl", "--out", "o", "--tokenizer", "bytes", "--text-field", "body"), 2, 'no field "body"'),
        (("info", "."), 2, "golf data prepare"),
    ],
)
def test_mistakes_get_a_sentence(corpus, arguments, code, message):
    assert message in golf("data", *arguments, cwd=corpus, check=code).stderr


def test_a_malformed_shard_is_named_with_its_offset(corpus):
    prepared(corpus, corpus / "out", "--tokenizer", "sp:300", "--workers", "1")
    write_shard(corpus / "out" / "text_val_000001.bin", np.array([1, 5, 300, 7], dtype=np.uint16))
    done = golf("data", "info", "out", cwd=corpus, check=4)
    assert "text_val_000001.bin" in done.stderr
    assert "token 300 at byte 1028" in done.stderr


def test_parquet_is_read_where_pyarrow_is_there(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="reading Parquet needs golf[parquet]")
    from pyarrow import parquet

    texts = [f"row {i} " * 20 for i in range(50)]
    parquet.write_table(pyarrow.table({"content": texts, "other": list(range(50))}), tmp_path / "t.parquet")
    result = golf_json("data", "prepare", "t.parquet", "--text-field", "content", "--tokenizer", "bytes", "--out", "o",
                       "--val-fraction", "0.3", "--workers", "1", cwd=tmp_path)  # fmt: skip
    assert sum(split["text_bytes"] for split in result["splits"].values()) == sum(len(t.encode()) for t in texts)
    done = golf("data", "prepare", "t.parquet", "--tokenizer", "bytes", "--out", "p", cwd=tmp_path, check=2)
    assert 'no column "text"' in done.stderr
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    done = golf("data", "prepare", "broken.parquet", "--tokenizer", "bytes", "--out", "q", cwd=tmp_path, check=2)
    assert "not a Parquet file" in done.stderr


def test_a_tokenizer_whose_bytes_the_contest_counts_otherwise_is_said_to_be_one(corpus):
    (corpus / "often.jsonl").write_text(
        "\n".join(json.dumps({"text": f"of the sea and of the sky, of the {n}\n" * 20}) for n in range(40))
    )
    arguments = ("often.jsonl", "--val-fraction", "0.2", "--out")
    spaces = golf("data", "prepare", *arguments, "spaces", "--tokenizer", "sp:290", cwd=corpus)
    assert "pieces hold spaces inside" in " ".join(spaces.stderr.split())
    assert "spaces inside" not in golf("data", "prepare", *arguments, "o", "--tokenizer", "bytes", cwd=corpus).stderr


@pytest.mark.parametrize("name", ["../x", "a/b", ""])
def test_a_name_stays_in_its_folder(corpus, name):
    given = ("--out", "out", "--tokenizer", "bytes", "--name", name)
    assert "without folders" in golf("data", "prepare", "a.jsonl", *given, cwd=corpus, check=2).stderr


def test_a_killed_attempt_is_known_as_unfinished_and_made_again(corpus):
    whole = prepared(corpus, corpus / "out", "--tokenizer", "bytes")
    shard = corpus / "out" / "text_train_000000.bin"
    content = shard.read_bytes()
    shard.write_bytes(content[:1500])  # as a killed run leaves them
    (corpus / "out" / "text.unfinished").write_text("")
    (corpus / "out" / "text_other.bin").write_bytes(b"mine")
    used = ("train", "smoke", "--set", "data.source=shards", "--set", f"data.path={corpus / 'out'}")
    assert "not all there" in golf(*used, "--out", "run", cwd=corpus, check=2).stderr
    again = prepared(corpus, corpus / "out", "--tokenizer", "bytes")
    assert again["splits"] == whole["splits"]
    assert shard.read_bytes() == content
    assert sorted(path.name for path in (corpus / "out").iterdir()) == [
        "text_other.bin", "text_train_000000.bin", "text_val_000000.bin",
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("tokens", [0, 1])
def test_shards_with_nothing_to_predict_are_refused_before_the_first_step(corpus, split, tokens):
    prepared(corpus, corpus / "out", "--tokenizer", "bytes")
    write_shard(corpus / "out" / f"text_{split}_000000.bin", np.ones(tokens, dtype=np.uint16))
    settings = ("--set", "data.source=shards", "--set", f"data.path={corpus / 'out'}", "--set", "tokenizer.kind=bytes")
    done = golf("train", "smoke", *settings, "--out", "run", cwd=corpus, check=2)
    assert f"the {split} shards" in done.stderr and f"hold {tokens} tokens" in done.stderr


def test_a_shard_that_shrinks_while_it_is_read_is_noticed(tmp_path):
    """Reading behind the end of a mapped file would kill the process."""
    path = tmp_path / "x_train_000000.bin"
    write_shard(path, np.ones(100_000, dtype=np.uint16))
    stream = TokenStream([path], vocab_size=260)
    assert len(stream.slice(0, 100_000)) == 100_000
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DamagedShard, match="declares 100000 tokens"):
        stream.slice(90_000, 100_000)
