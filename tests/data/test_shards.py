"""Token shards: the contest's format to the byte, and streams across their borders."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from golf.data import TokenStream, check_tokens, open_shard, write_shard
from golf.errors import DamagedShard, DataError, EnvironmentFailure

token_lists = st.lists(st.integers(0, 65535), max_size=50)


def forge(
    path: Path, *, magic: int = 20240520, version: int = 1, count: int = 3, body: bytes = b"\1\0\2\0\3\0"
) -> Path:
    path.write_bytes(struct.pack("<256i", magic, version, count, *[0] * 253) + body)
    return path


def test_a_shard_is_the_contests_format_to_the_byte(tmp_path):
    write_shard(tmp_path / "x.bin", np.array([1, 2, 0x0300], dtype=np.uint16))
    header = struct.pack("<256i", 20240520, 1, 3, *[0] * 253)
    assert (tmp_path / "x.bin").read_bytes() == header + b"\1\0\2\0\0\3"


@given(token_lists)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_what_is_written_is_read(tmp_path, tokens):
    path = tmp_path / "x.bin"
    write_shard(path, np.array(tokens, dtype=np.uint16))
    opened = open_shard(path)
    assert opened.dtype == np.uint16
    assert opened.tolist() == tokens


def test_a_mapped_shard_cannot_be_written_through(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        open_shard(forge(tmp_path / "x.bin"))[0] = 5


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"magic": 7}, "byte 0 holds 7"),
        ({"version": 2}, "byte 4 holds version 2"),
        ({"count": 4}, "byte 8 declares 4 tokens, so 1032 bytes; the file has 1030"),
        ({"count": 2}, "byte 8 declares 2 tokens"),
        ({"count": -1}, "byte 8 declares -1 tokens"),
        ({"body": b"\1\0\2\0\3"}, "the file has 1029"),
    ],
)
def test_a_forged_shard_is_named_with_the_offset(tmp_path, keys, complaint):
    path = forge(tmp_path / "x.bin", **keys)
    with pytest.raises(DamagedShard, match=rf"x\.bin: .*{complaint}"):
        open_shard(path)
    with pytest.raises(DamagedShard, match=complaint):
        TokenStream([path], vocab_size=10)


def test_every_truncation_is_found(tmp_path):
    path = forge(tmp_path / "x.bin")
    for size in reversed(range(path.stat().st_size)):
        os.truncate(path, size)
        with pytest.raises(DamagedShard):
            open_shard(path)


def test_a_missing_or_unreadable_shard_says_so(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        open_shard(tmp_path / "x.bin")
    with pytest.raises(EnvironmentFailure, match="Is a directory"):
        open_shard(tmp_path)


def test_a_token_beyond_the_vocabulary_is_found_with_its_byte(tmp_path):
    path = forge(tmp_path / "x.bin", body=b"\1\0\x09\0\x0a\0")
    assert open_shard(path, vocab_size=11).tolist() == [1, 9, 10]
    with pytest.raises(DamagedShard, match="token 10 at byte 1028 is not below the tokenizer's 10"):
        open_shard(path, vocab_size=10)
    with pytest.raises(DamagedShard, match="token 9 at byte 2028"):
        check_tokens(path, np.array([1, 9, 10], dtype=np.uint16), 5, first=501)


def test_a_stream_finds_a_wrong_token_when_it_gives_it_out(tmp_path):
    stream = TokenStream([forge(tmp_path / "a.bin"), forge(tmp_path / "b.bin", body=b"\1\0\x99\0\1\0")], vocab_size=10)
    assert stream.slice(0, 4).tolist() == [1, 2, 3, 1]
    with pytest.raises(DamagedShard, match=r"b\.bin: token 153 at byte 1026"):
        stream.slice(2, 6)


@given(st.lists(token_lists, max_size=6), st.data())
def test_a_slice_of_a_stream_is_the_slice_of_the_joined_shards(shards, data):
    joined = [token for shard in shards for token in shard]
    stream = TokenStream([np.array(shard, dtype=np.uint16) for shard in shards], vocab_size=65536)
    assert len(stream) == len(joined)
    start = data.draw(st.integers(0, len(joined)))
    stop = data.draw(st.integers(start, len(joined)))
    piece = stream.slice(start, stop)
    assert piece.dtype == np.uint16
    assert piece.tolist() == joined[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
def test_a_slice_outside_the_stream_is_refused(start, stop):
    with pytest.raises(ValueError, match="not within the stream's 3"):
        TokenStream([np.arange(3, dtype=np.uint16)], vocab_size=10).slice(start, stop)


@pytest.mark.skipif(not hasattr(mmap, "MADV_RANDOM"), reason="this system takes no advice")
def test_windows_are_read_without_reading_ahead_and_long_slices_with_it(tmp_path, monkeypatch):
    write_shard(tmp_path / "x.bin", np.ones(100_000, dtype=np.uint16))
    stream, advice = TokenStream([tmp_path / "x.bin"], vocab_size=10), []

    class Mapped:
        madvise = advice.append

    stream.slice(0, 1)
    monkeypatch.setattr(stream._mapped[0], "_mmap", Mapped)
    for start, stop in ((90_000, 91_025), (0, 100_000), (5, 6)):
        stream.slice(start, stop)
    assert advice == [mmap.MADV_RANDOM, mmap.MADV_NORMAL, mmap.MADV_RANDOM]


def test_many_shards_open_by_their_headers_alone(tmp_path, monkeypatch):
    paths = [forge(tmp_path / f"{i}.bin") for i in range(50)]
    mapped = []
    real = np.memmap

    def counting(path: Path, **keys: object) -> object:
        mapped.append(path)
        return real(path, **keys)  # type: ignore[call-overload]

    monkeypatch.setattr(np, "memmap", counting)
    stream = TokenStream(paths, vocab_size=10)
    assert len(stream) == 150
    assert mapped == []
    assert stream.slice(100, 102).tolist() == [2, 3]
    assert mapped == [paths[33]]
