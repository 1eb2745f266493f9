"""Documents: where they come from, where files are cut, and on which side of the split they fall."""

from __future__ import annotations

import io
import json
import lzma
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.data import documents, evaluation_text, load_tokenizer, whole_text
from golf.data.textfiles import DOCUMENT_BYTES, LINE_LIMIT, _pieces, never_stop
from golf.errors import DataError, EnvironmentFailure
from golf.recipe import Data


def text_section(path: Path, **keys: object) -> Data:
    return Data(source="text", path=str(path), **keys)  # type: ignore[arg-type]


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_records(path: Path, texts: list[str]) -> Path:
    return write(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_the_standard_library_is_the_same_every_time_and_in_order():
    names = [document.name for document in documents(Data(), "val")]
    assert names == sorted(names) == [document.name for document in documents(Data(), "val")]
    assert len(names) > 10


def test_the_standard_library_splits_are_disjoint_and_free_of_tests_and_machine_files():
    train, val = list(documents(Data(), "train")), list(documents(Data(), "val"))
    assert not {d.text for d in train} & {d.text for d in val}
    names = {d.name for d in train + val}
    assert {"argparse.py", "asyncio/events.py"} <= names
    assert not [n for n in names if {"test", "tests", "idle_test", "site-packages"} & set(n.split("/"))]
    assert not [n for n in names if "_sysconfigdata" in n]
    assert all(d.text for d in train + val)


def test_the_validation_split_of_the_standard_library_is_representative():
    """`xz -9e` finds it about as hard as random training slices of its size (1.62 ± 0.10 bits per byte on 3.11)."""
    text = "".join(document.text for document in documents(Data(), "val")).encode()
    bits = 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text)
    assert 300_000 < len(text) < 900_000
    assert 1.4 < bits < 1.85


def test_a_larger_val_fraction_only_adds_documents():
    small = {d.name for d in documents(Data(val_fraction=0.04), "val")}
    large = {d.name for d in documents(Data(val_fraction=0.1), "val")}
    assert small < large


@given(st.lists(st.tuples(st.integers(0, 9000), st.sampled_from(["a", "é", "語", "🐍"])), max_size=12), st.booleans())
def test_the_pieces_of_a_file_joined_are_the_file(lines, ends):
    content = "\r\n".join(char * length for length, char in lines).encode() + (b"\n" if ends else b"")
    pieces = list(_pieces(io.BytesIO(content), never_stop))
    assert b"".join(pieces) == content
    for piece in pieces:
        assert piece.decode()
        assert len(piece) <= LINE_LIMIT
    for piece in pieces[:-1]:
        assert len(piece) >= DOCUMENT_BYTES


@given(st.integers(1, 70_000))
def test_where_a_file_is_cut_does_not_depend_on_how_it_is_read(block):
    content = ("x" * 5000 + "\n" + "ü" * 70_000 + "\n" + "line\n" * 3000).encode()

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(max(block, 2000))

    assert list(_pieces(Dribble(content), never_stop)) == list(_pieces(io.BytesIO(content), never_stop))


def test_a_text_file_is_cut_at_line_ends_and_named_by_offset(tmp_path):
    path = write(tmp_path / "book.txt", "one line of text\r\n" * 1000)
    found = list(whole_text(path, Data()))
    assert "".join(d.text for d in found) == path.read_bytes().decode()
    assert len(found) > 3
    assert all(d.text.endswith("\n") for d in found)
    assert found[1].name == f"book.txt:{len(found[0].text)}"


def test_a_folder_gives_its_visible_text_by_path(tmp_path):
    for name in ("b.txt", "a/z.py", "a/y.md", ".hidden.txt", ".git/config"):
        write(tmp_path / name, name)
    write(tmp_path / "c.bin", b"\xff\xfe\x00")
    write_records(tmp_path / "d.jsonl", ["record"])
    found = [(d.name, d.text) for d in whole_text(tmp_path, Data())]
    assert found == [("a/y.md:0", "a/y.md"), ("a/z.py:0", "a/z.py"), ("b.txt:0", "b.txt"), ("d.jsonl:1", "record")]


def test_records_give_their_text_field(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"body": "one"}\n\n{"body": ""}\n{"body": "two\\n", "text": 3}\n')
    assert [d.text for d in whole_text(path, Data(text_field="body"))] == ["one", "two\n"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"text": "x"', "line 2: not JSON"),
        (b"[" * 100_000, "line 2: not JSON"),
        (b'{"text": ' + b"1" * 5000 + b"}", "line 2: not JSON"),
        (b"[1]", 'line 2: no field "text"'),
        (b'{"tekst": "x"}', 'line 2: no field "text"'),
        (b'{"text": 5}', 'line 2: field "text" is no string'),
        (b'{"text": "\\ud800"}', "half a surrogate pair"),
        (b'{"text": "\xff"}', "line 2: not UTF-8 at byte 10"),
    ],
)
def test_a_bad_record_is_named_by_its_line(tmp_path, line, complaint):
    path = write(tmp_path / "x.jsonl", b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(DataError, match=complaint):
        list(whole_text(path, Data()))


def test_text_that_is_not_utf8_is_named_by_its_byte(tmp_path):
    path = write(tmp_path / "x.txt", b"a" * 4095 + b"\n" + b"ok \xff")
    with pytest.raises(DataError, match=r"x\.txt: not UTF-8 at byte 4099"):
        list(whole_text(path, Data()))


@pytest.mark.parametrize("content", [None, b""])
def test_a_missing_or_empty_path_is_a_data_error(tmp_path, content):
    path = tmp_path / "x.txt"
    if content is not None:
        write(path, content)
    with pytest.raises(DataError, match="does not exist" if content is None else "holds no text"):
        list(whole_text(path, Data()))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_failure_of_the_environment(tmp_path):
    path = write(tmp_path / "x.txt", "text")
    path.chmod(0)
    with pytest.raises(EnvironmentFailure, match="Permission denied"):
        list(whole_text(path, Data()))


def test_a_refused_read_names_the_file(tmp_path, monkeypatch):
    path = write(tmp_path / "x.txt", "text")

    def refuse(file: Path) -> object:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("golf.data.textfiles.opened", refuse)
    with pytest.raises(EnvironmentFailure, match=r"cannot read .*x\.txt: Permission denied"):
        list(whole_text(path, Data()))


def test_the_hash_split_shares_out_every_document_once(tmp_path):
    texts = [f"document {i}\n" for i in range(400)]
    section = text_section(write_records(tmp_path / "x.jsonl", texts), val_fraction=0.25)
    train, val = ([d.text for d in documents(section, split)] for split in ("train", "val"))
    assert sorted(train + val) == sorted(texts)
    assert 0.15 < len(val) / len(texts) < 0.35


def test_equal_documents_are_never_on_both_sides(tmp_path):
    texts = [f"document {i % 40}\n" for i in range(400)]
    section = text_section(write_records(tmp_path / "x.jsonl", texts), val_fraction=0.5)
    train, val = ({d.text for d in documents(section, split)} for split in ("train", "val"))
    assert not train & val
    assert len(train | val) == 40


def test_a_validation_file_is_all_validation_and_its_copies_leave_training(tmp_path):
    train = write_records(tmp_path / "train.jsonl", ["one", "two", "three"])
    val = write_records(tmp_path / "val.jsonl", ["two", "four"])
    section = text_section(train, val_path=str(val))
    assert [d.text for d in documents(section, "train")] == ["one", "three"]
    assert [d.text for d in documents(section, "val")] == ["two", "four"]


def test_an_empty_split_says_what_to_do(tmp_path):
    path = write(tmp_path / "x.txt", "too short to share out")
    with pytest.raises(DataError, match=r"val split.*set a larger val_fraction, or name a validation text"):
        list(documents(text_section(path), "val"))
    with pytest.raises(DataError, match=r"nothing of .* is left to train on"):
        list(documents(text_section(path, val_path=str(path)), "train"))
    with pytest.raises(DataError, match="standard library is empty"):
        list(documents(Data(val_fraction=1e-9), "val"))


def test_shards_have_no_documents(tmp_path):
    with pytest.raises(DataError, match="hold no documents"):
        list(documents(Data(source="shards", path=str(tmp_path)), "val"))


def test_reading_is_polled_wherever_bytes_are_read(tmp_path):
    """In the walk of a folder, in a file that is no text, in blank records and in a line without an end."""
    for n in range(30):
        write(tmp_path / "many" / f"{n}.txt", b"\xff")
    write(tmp_path / "binary" / "x.txt", b"a" * (3 << 20) + b"\xff")
    write(tmp_path / "blank.jsonl", "\n" * (3 << 20))
    write(tmp_path / "endless.jsonl", b'{"text": "' + b"a" * (3 << 20))
    for name, polls, size in (
        ("many", 30, 0),
        ("binary", 4, 2 << 20),
        ("blank.jsonl", 3, 3 << 20),
        ("endless.jsonl", 3, 3 << 20),
    ):
        heard: list[int] = []
        with pytest.raises(DataError):
            list(whole_text(tmp_path / name, Data(), poll=heard.append))
        assert len(heard) >= polls and sum(heard) >= size

        def stop(_read: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(whole_text(tmp_path / name, Data(), poll=stop))


def test_no_more_is_read_than_was_allowed(tmp_path):
    """A line without an end is no reason to read all of it."""
    path = write(tmp_path / "endless.jsonl", b'{"text": "' + b"a" * (5 << 20))
    with pytest.raises(DataError, match="goes on after 2,097,152 bytes"):
        evaluation_text(text_section(path), load_tokenizer("bytes", b""), limit=None, most_bytes=2 << 20)
