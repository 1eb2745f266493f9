"""A file from a stranger is either exactly what somebody signed, or refused in one sentence that names the part."""

import json
import os
import random
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard
from artifact_mutants import (
    MUTATIONS,
    forge,
    forge_text,
    frame_of,
    judge,
    sample,
    sign,
    spell,
    split,
    unsigned_noise,
)

from golf.artifact import HEADER_SIZE, Limits, compress_zstd, decompress_zstd, open_artifact, parse_artifact
from golf.errors import DamagedFile, EnvironmentFailure

# Most forgeries are of a manifest whose sections are rows, with checksums; columns are below.
SAMPLE, COLUMNS = sample(7), sample(8)
TEXT, PAYLOAD = split(SAMPLE)
MANIFEST_END = len(SAMPLE) - len(PAYLOAD)


def environment():
    """For a fresh process that finds golf and this folder."""
    paths = map(str, Path(__file__).parents[:3])
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def refusal(content, limits=None):
    with pytest.raises(DamagedFile) as caught:
        parse_artifact(content, limits)
    return caught.value


# --- what noise does


def test_every_single_bit_flip_is_refused_and_the_part_is_named():
    sections = [(MANIFEST_END + section.offset, section) for section in parse_artifact(SAMPLE).sections]
    for bit in range(8 * len(SAMPLE)):
        altered = bytearray(SAMPLE)
        altered[bit // 8] ^= 1 << bit % 8
        part = refusal(bytes(altered)).part
        if bit // 8 < HEADER_SIZE:
            # A wrong size for the decoded manifest is found by its frame, and said of it.
            assert part in (("manifest", "header") if 32 <= bit // 8 < 40 else ("header", "file"))
        elif bit // 8 < MANIFEST_END:
            assert part == "manifest"
        else:
            assert part == max(place for place in sections if place[0] <= bit // 8)[1].part


def test_a_flip_in_the_digest_itself_is_the_headers():
    for at in range(HEADER_SIZE - 32, HEADER_SIZE):
        altered = SAMPLE[:at] + bytes([SAMPLE[at] ^ 1]) + SAMPLE[at + 1 :]
        assert str(refusal(altered)).startswith("header: altered: its SHA-256 is not the file's")


def test_damage_in_several_sections_names_the_first_and_counts_the_rest():
    altered = SAMPLE[:MANIFEST_END] + bytes(byte ^ 1 for byte in PAYLOAD)
    assert str(refusal(altered)).startswith("section tokenizer: altered: it does not match its CRC-32, and 3 more")


def test_altered_content_behind_a_lying_header_is_refused_for_the_lie():
    lying = sign(frame_of(TEXT), PAYLOAD, manifest_size=len(TEXT) + 1)
    altered = lying[:-1] + bytes([lying[-1] ^ 1])
    assert str(refusal(altered)) == "manifest: the zstd frame states 1,119 bytes, 1,120 are declared"


def test_every_truncation_is_refused():
    for length in range(len(SAMPLE)):
        assert refusal(SAMPLE[:length]).part in ("file", "header")
    cut = f"file: truncated, {len(SAMPLE) - 1} of {len(SAMPLE)} bytes; copy the file again"
    assert str(refusal(SAMPLE[:-1])) == cut
    assert str(refusal(SAMPLE[:30])) == "file: truncated, 30 of the header's 72 bytes; copy it again"


def test_a_refused_file_is_named(tmp_path):
    path = tmp_path / "cut.bin"
    path.write_bytes(SAMPLE[:-1])
    with pytest.raises(DamagedFile, match=f"^{re.escape(str(path))}: file: truncated"):
        open_artifact(path)


@pytest.mark.parametrize("appended", [b"\0", b"\n", bytes(100), SAMPLE], ids=["nul", "newline", "zeros", "twice"])
def test_appended_bytes_are_refused(appended):
    assert str(refusal(SAMPLE + appended)) == (
        f"file: {len(SAMPLE + appended):,} bytes, but it ends at {len(SAMPLE):,}; copy it again"
    )


@pytest.mark.parametrize("content", [b"", b"\x89GOLG", b"PK\x03\x04" + bytes(100), bytes(72)])
def test_other_files_are_no_artifacts(content):
    why = "the first bytes are not its magic number" if content else "the file is empty"
    assert str(refusal(content)) == f"header: not a golf artifact ({why})"


# --- what a forger does to the header


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "version",
            12,
            "header: format version 12; this golf reads versions 1, 2, 4, 7, 8, 11, a newer one may read it",
        ),
        ("version", 0, "header: format version 0 does not exist; this golf reads versions 1, 2, 4, 7, 8, 11"),
        ("version", 5, "header: format version 5 does not exist; this golf reads versions 1, 2, 4, 7, 8, 11"),
        ("version", 3, "header: format version 3 does not exist; this golf reads versions 1, 2, 4, 7, 8, 11"),
        ("manifest_crc32", 1, "header: altered: its length or CRC-32 of the manifest is not that of the file"),
        ("file_size", len(SAMPLE) + 2000, "file: truncated, "),
        ("file_size", 72, "but it ends at 72"),
        ("manifest_length", 13, "header: the manifest is stored in 13 bytes; 14 to"),
        ("manifest_length", 2**64 - 1, "header: the manifest is stored in 18,446,744,073,709,551,615 bytes"),
        ("manifest_size", 0, "header: the manifest decodes to 0 bytes"),
        ("manifest_size", (8 << 20) + 1, "header: the manifest decodes to 8,388,609 bytes; 1 to 8,388,608 are allowed"),
        ("manifest_size", len(TEXT) + 1, "manifest: the zstd frame states 1,119 bytes, 1,120 are declared"),
    ],
)
def test_a_header_that_lies_is_refused(field, value, message):
    fields = {"manifest_size": len(TEXT)} | {field: value}
    assert message in str(refusal(sign(frame_of(TEXT), PAYLOAD, **fields)))


def test_a_manifest_length_that_cuts_or_overruns_the_frame_is_refused():
    frame = frame_of(TEXT)
    body = frame + PAYLOAD
    for length in (len(frame) - 1, len(frame) + 1):
        lying = sign(frame, PAYLOAD, manifest_size=len(TEXT), manifest_length=length)
        assert str(refusal(lying)).startswith("header: altered: its length or CRC-32")
        consistent = sign(body[:length], body[length:], manifest_size=len(TEXT))
        assert str(refusal(consistent)).startswith("manifest: the zstd frame does not decode")


# --- what a forger does to a zstd frame


def frame_with(descriptor: int, fields: bytes) -> bytes:
    """A frame whose header is spelled by hand, with one raw block of one byte and room for a checksum."""
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + fields + b"\x09\0\0" + b"a" + bytes(8)


FRAMES = {
    "other magic": (b"\x27" + frame_of(b"a" * 99)[1:], "holds no zstd frame"),
    "skippable": (b"\x50\x2a\x4d\x18" + struct.pack("<I", 99) + bytes(99), "holds no zstd frame"),
    "too short": (frame_of(b"a")[:13], "holds no zstd frame"),
    "unused bit": (frame_with(0b0011_0100, b"\x63"), "sets bits that are reserved"),
    "reserved bit": (frame_with(0b0010_1100, b"\x63"), "sets bits that are reserved"),
    "dictionary": (frame_with(0b0010_0101, b"\x07\x63"), "asks for a dictionary"),
    "no checksum": (frame_of(b"a" * 99, write_checksum=False), "has no checksum"),
    "no content size": (frame_of(b"a" * 99, write_content_size=False), "does not state its content size"),
    "content size 0": (frame_with(0b0010_0100, b"\x00"), "states a content size of 0"),
    "another content size": (frame_of(b"a" * 98), "states 98 bytes, 99 are declared"),
    "window of 256 MiB": (frame_with(0b1000_0100, b"\x90" + struct.pack("<I", 99)), "window is 268,435,456 bytes"),
    "window beyond zstd": (frame_with(0b1000_0100, b"\xff" + struct.pack("<I", 99)), "header does not decode"),
    "cut": (frame_of(b"a" * 99)[:-1], "does not decode"),
    "byte behind": (frame_of(b"a" * 99) + b"\0", "does not decode"),
    "frame behind": (frame_of(b"a" * 99) + frame_of(b"a" * 99), "does not decode"),
    "wrong checksum": (frame_of(b"a" * 99)[:-1] + b"\0", "does not decode"),
    "less than stated": (frame_of(b"a" * 98).replace(b"\x62", b"\x63", 1), "does not decode"),
}


@pytest.mark.parametrize(("frame", "message"), FRAMES.values(), ids=FRAMES.keys())
def test_a_frame_of_any_other_form_is_refused(frame, message):
    with pytest.raises(DamagedFile, match=message) as caught:
        decompress_zstd(frame, expected_size=99, part="section x")
    assert caught.value.part == "section x"


def test_every_bit_flip_of_a_frame_is_refused():
    content = random.Random(0).randbytes(50) + b"golf " * 20
    frame = compress_zstd(content)
    for bit in range(8 * len(frame)):
        altered = bytearray(frame)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedFile):
            decompress_zstd(bytes(altered), expected_size=len(content), part="x")


def test_a_library_that_returned_less_would_not_be_believed(monkeypatch):
    class Truncating:
        def __init__(self, **options):
            pass

        def decompress(self, frame, **options):
            return b"a" * 98

    monkeypatch.setattr(zstandard, "ZstdDecompressor", Truncating)
    with pytest.raises(DamagedFile, match="holds 98 bytes, 99 are declared"):
        decompress_zstd(compress_zstd(b"a" * 99), expected_size=99, part="x")


def test_memory_that_is_not_to_be_had_is_a_matter_of_the_machine(monkeypatch):
    class Exhausted:
        def __init__(self, **options):
            pass

        def decompress(self, frame, **options):
            raise MemoryError

    monkeypatch.setattr(zstandard, "ZstdDecompressor", Exhausted)
    with pytest.raises(EnvironmentFailure, match="99 bytes of memory for section x are not to be had"):
        decompress_zstd(compress_zstd(b"a" * 99), expected_size=99, part="section x")


# --- what a forger does to the manifest's text

TEXTS = {
    "no UTF-8": (b'{"a":"\xff"}', "not UTF-8"),
    "lone surrogate": (rb'{"a":"\ud800"}', "not UTF-8"),
    "no JSON": (b'{"a"}', "not JSON (Expecting ':' delimiter at character 4)"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "two documents": (b"{}{}", "not JSON (Extra data"),
    "NaN": (b'{"a":NaN}', "NaN is no JSON number"),
    "infinity": (b'{"a":-Infinity}', "-Infinity is no JSON number"),
    "overflowing number": (b'{"a":1e999}', "no float64 in its shortest spelling"),
    "endless fraction": (b'{"a":0.' + b"1" * 9000 + b"}", "no float64 in its shortest spelling"),
    "integer of 64 bits": (b'{"a":9223372036854775808}', "more than 64 bits"),
    "endless integer": (b'{"a":' + b"1" * 9000 + b"}", "more than 64 bits"),
    "key twice": (b'{"a":1,"a":1}', "key 'a' appears twice"),
    "space": (b'{"a": 1}', "not canonical"),
    "keys out of order": (b'{"b":1,"a":1}', "not canonical"),
    "needless escape": (rb'{"\u0061":1}', "not canonical"),
    "longer number": (b'{"a":1.50}', "not canonical"),
    "negative zero": (b'{"a":-0}', "not canonical"),
    "deep lists": (b"[" * 17 + b"]" * 17, "more than 16 levels deep"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "more than 16 levels deep"),
    "unpaired": (b"[" * 100_000, "more than 16 levels deep, or with unpaired brackets"),
    "many values": (b"[" + b"0," * (1 << 18) + b"0]", "more than 262,144 values"),
    "many quotes": (b'"' * ((1 << 20) + 1), "more than 1,048,576 quotation marks"),
    "no object": (b"[]", "the manifest must be an object, got a list of 0"),
    "null": (b"null", "the manifest must be an object, got None"),
    "empty": (b"{}", "lacks the key 'sections'"),
}


@pytest.mark.parametrize(("text", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_a_manifest_that_is_not_canonical_json_is_refused(text, message):
    error = refusal(forge_text(text, b""))
    assert error.part == "manifest"
    assert message in str(error)


def test_sixteen_levels_are_not_too_deep():
    deepest = json.loads("[" * 15 + "]" * 15)  # the manifest and its key take one level
    accepted = forge(SAMPLE, lambda document: document.update(recipe={"a": deepest[0]}))
    assert parse_artifact(accepted).manifest.recipe == {"a": deepest[0]}
    assert "16 levels" in str(refusal(forge(SAMPLE, lambda document: document.update(recipe={"a": deepest}))))


def test_brackets_quotes_and_commas_inside_strings_are_only_text():
    recipe = {"a": "[" * 50 + '"]}\\' * 5 + ",{" * 50, '"{\\': "\\"}
    assert parse_artifact(forge(SAMPLE, lambda document: document.update(recipe=recipe))).manifest.recipe == recipe


# --- what a forger does to the manifest's values


def put(*path_and_value):
    """A change that puts a value at a place of the manifest."""
    *path, last, value = path_and_value

    def change(document):
        for key in path:
            document = document[key]
        document[last] = value

    return change


def drop(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


VALUES = {
    "unknown key": (put("extra", 1), "the manifest has the unknown key 'extra'"),
    "unknown key with escapes": (put("\x1b[31m", 1), r"unknown key '\x1b[31m'"),
    "unknown tensor key": (put("tensors", 0, "dtype", "f"), "tensors[0] has the unknown key 'dtype'"),
    "unknown claim key": (put("claim", "x", 1), "claim has the unknown key 'x'"),
    "missing claim key": (drop("claim", "bpb"), "claim lacks the key 'bpb'"),
    "version string": (put("golf", ""), "golf must be a string"),
    "terminal escape": (put("golf", "\x1b[31m"), r"got '\x1b[31m'"),
    "endless string": (put("golf", "a" * 201), "golf must be a string of at most 200 characters"),
    "recipe": (put("recipe", []), "recipe must be an object, got a list of 0"),
    "model": (put("model", None), "model must be an object, got None"),
    "tokenizer": (put("tokenizer", "bytes"), "tokenizer must be an object, got 'bytes'"),
    "tokenizer kind": (put("tokenizer", "kind", "wordpiece"), "tokenizer.kind must be bytes or sentencepiece"),
    "tokenizer kind, a list": (put("tokenizer", "kind", []), "tokenizer.kind must be bytes or sentencepiece"),
    "vocabulary": (put("tokenizer", "vocab_size", 0), "tokenizer.vocab_size must be an integer of 1 to"),
    "tokenizer digest": (put("tokenizer", "sha256", "AB" * 32), "tokenizer.sha256 must be"),
    "content digest": (put("content_sha256", "0" * 63), "content_sha256 must be"),
    "tensors": (put("tensors", {}), "tensors must be a list, got an object of 0"),
    "tensor": (put("tensors", 0, 1), "tensors[0] must be an object, got 1"),
    "tensor name": (put("tensors", 0, "name", "../etc/passwd"), "tensors[0].name must be"),
    "tensor name with a line": (put("tensors", 0, "name", "a\n"), "tensors[0].name must be"),
    "tensor twice": (put("tensors", 0, "name", "blocks.0.attention.query_gain"), "query_gain appears twice"),
    "dimension 0": (put("tensors", 0, "shape", [0, 1]), "must be an integer of 1 to 2147483648, got 0"),
    "dimension -1": (put("tensors", 0, "shape", [-1, 1]), "got -1"),
    "dimension 2^31 + 1": (put("tensors", 0, "shape", [2**31 + 1, 1]), "got 2147483649"),
    "dimension 1.0": (put("tensors", 0, "shape", [1.0, 1]), "got 1.0"),
    "dimension true": (put("tensors", 0, "shape", [True, 1]), "got True"),
    "shape": (put("tensors", 0, "shape", 64), "the shape of blocks.0.mlp.up.weight must be a list, got 64"),
    "flat matrix": (put("tensors", 0, "shape", [64]), "has 1 dimensions; a matrix has 2"),
    "nine dimensions": (put("tensors", 1, "shape", [1] * 9), "has 9 dimensions; at most 8 are allowed"),
    "kind": (put("tensors", 0, "kind", "sparse"), "must be matrix or small, got 'sparse'"),
    "rank": (put("tensors", 0, "rank", 33), "the rank of blocks.0.mlp.up.weight must be an integer of 0 to 32, got 33"),
    "rank of a vector": (put("tensors", 1, "rank", 1), "must be an integer of 0 to 0, got 1"),
    "parameter": (put("tensors", 0, "parameters", {"step": "1"}), "step of blocks.0.mlp.up.weight must be a number"),
    "parameter name": (put("tensors", 0, "parameters", {"": 1}), "a parameter of blocks.0.mlp.up.weight must be"),
    "boolean parameter": (put("tensors", 0, "parameters", {"step": True}), "must be a number, got True"),
    "claim": (put("claim", []), "claim must be an object"),
    "negative loss": (put("claim", "val_loss", -1.0), "claim.val_loss must be at least 0, got -1.0"),
    "no tokens": (put("claim", "tokens", 0), "claim.tokens must be an integer of 1 to"),
    "device": (put("claim", "device", 0), "claim.device must be a string"),
    "cap": (put("budget", "cap", 2**40 + 1), "budget.cap must be an integer of 1 to 1099511627776"),
    "code": (put("budget", "code_bytes", -1), "budget.code_bytes must be an integer of 0 to"),
    "versions": (put("versions", {"torch": 2}), "versions.torch must be a string"),
    "version name": (put("versions", {"a b": "2"}), "a name in versions must be"),
    "sections": (put("sections", None), "sections must be a list"),
    "row": (put("sections", 0, {}), "sections[0] must be a list"),
    "columns": (drop("sections", 0, 5), "sections[0] has 5 columns instead of 6"),
    "section name": (put("sections", 0, 0, "Tokenizer"), "sections[0].name must be"),
    "codec": (put("sections", 0, 1, "pickle"), "the codec of tokenizer must be raw or zstd or ans or conditional, got"),
    "negative offset": (put("sections", 0, 2, -1), "the offset of tokenizer must be an integer of 0 to"),
    "negative length": (put("sections", 0, 3, -1), "the length of tokenizer must be"),
    "decoded size": (put("sections", 0, 4, None), "the decoded_size of tokenizer must be"),
    "crc": (put("sections", 0, 5, "0xabcdef"), "the crc32 of tokenizer must be"),
} | {
    f"without {key}": (drop(key), f"the manifest lacks the key '{key}'") for key in sorted(json.loads(TEXT))
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), VALUES.values(), ids=VALUES.keys())
def test_a_manifest_with_a_wrong_value_is_refused(change, message):
    error = refusal(forge(SAMPLE, change))
    assert error.part == "manifest"
    assert message in str(error)


TABLES = {
    "section twice": (put("sections", 1, 0, "tokenizer"), "section tokenizer: appears twice"),
    "unknown tensor": (put("sections", 2, 0, "a.b/left"), "section a.b/left: belongs to tensor a.b, which"),
    "hole": (put("sections", 1, 2, 41), "section small: starts at 41, but the one before ends at 40"),
    "overlap": (put("sections", 1, 2, 39), "section small: starts at 39, but the one before ends at 40"),
    "hole in front": (put("sections", 0, 2, 1), "section tokenizer: starts at 1, but the one before ends at 0"),
    "too long": (put("sections", 3, 3, 121), "residual: ends at 256, behind the last of 255 bytes"),
    "too short": (put("sections", 3, 3, 119), "file: 1 bytes behind the last section belong to none"),
    "no sections": (put("sections", []), "file: 255 bytes behind the last section belong to none"),
    "raw size": (put("sections", 0, 4, 41), "section tokenizer: holds 40 raw bytes and declares 41 decoded ones"),
    "zstd size": (put("sections", 1, 4, 281), "section small: the zstd frame states 280 bytes, 281 are declared"),
    "zstd in name only": (put("sections", 0, 1, "zstd"), "section tokenizer: holds no zstd frame"),
    "wrong crc": (put("sections", 3, 5, "00000000"), "residual: altered: its CRC-32 is"),
}


@pytest.mark.parametrize(("change", "message"), TABLES.values(), ids=TABLES.keys())
def test_a_table_that_does_not_describe_the_file_is_refused(change, message):
    assert message in str(refusal(forge(SAMPLE, change)))


# --- what a forger does to columns


def test_every_single_bit_flip_in_columns_is_refused():
    for bit in range(8 * len(COLUMNS)):
        altered = bytearray(COLUMNS)
        altered[bit // 8] ^= 1 << bit % 8
        assert refusal(bytes(altered)).part in ("header", "manifest", "file", "section")


def test_damage_behind_the_manifest_is_the_files():
    altered = COLUMNS[:-1] + bytes([COLUMNS[-1] ^ 1])
    assert str(refusal(altered)).startswith("file: altered: its SHA-256 is another, though its manifest is intact")


IN_COLUMNS = {
    "no columns": (put("tensors", []), "tensors must be an object, got a list of 0"),
    "unknown column": (put("tensors", "dtype", ["f", "f"]), "tensors has the unknown key 'dtype'"),
    "missing column": (drop("sections", "length"), "sections lacks the key 'length'"),
    "no list": (put("tensors", "rank", 1), "tensors.rank must be a list, got 1"),
    "short column": (put("tensors", "rank", [4]), "tensors.rank has 1 entries for 2 names"),
    "short parameters": (put("tensors", "parameters", "step", [1.0]), "'step' has 1 entries for 2 names"),
    "empty parameter": (put("tensors", "parameters", {"x": [None, None]}), "no tensor has the parameter 'x'"),
    "parameter": (put("tensors", "parameters", "step", ["1", None]), "step of blocks.0.mlp.up.weight must be a number"),
    "shape": (put("tensors", "shape", 0, None), "the shape of blocks.0.mlp.up.weight must be a list, got None"),
    "negative length": (put("sections", "length", 0, -1), "sections.length[0] must be an integer of 0 to"),
    "no length": (put("sections", "length", 0, None), "sections.length[0] must be an integer of 0 to"),
    "codec": (put("sections", "codec", 0, "pickle"), "the codec of tokenizer must be raw or zstd or ans"),
}


@pytest.mark.parametrize(("change", "message"), IN_COLUMNS.values(), ids=IN_COLUMNS.keys())
def test_columns_that_do_not_fit_are_refused(change, message):
    error = refusal(forge(COLUMNS, change))
    assert error.part == "manifest"
    assert message in str(error)


# --- what a forger asks for

DEMANDS = {
    "one huge tensor": put("tensors", 1, "shape", [2**31] * 8),
    "a section of 1 TB": put("sections", 2, 4, 2**40),
    "2^18 weights a byte": put("tensors", 0, "shape", [2**14, 2**14]),
}


@pytest.mark.parametrize("change", DEMANDS.values(), ids=DEMANDS.keys())
def test_memory_is_refused_before_it_is_taken(change):
    assert "bytes of memory" in str(refusal(forge(SAMPLE, change)))


def test_what_a_file_may_ask_for_grows_with_its_size_up_to_the_limit():
    limits = Limits(max_decoded=1000, max_expansion=10, small_decoded=50)
    limits.check_decoded(50, file_size=1)
    limits.check_decoded(1000, file_size=100)
    for decoded, file_size in ((51, 1), (991, 99), (1001, 10_000)):
        with pytest.raises(DamagedFile, match="bytes of memory"):
            limits.check_decoded(decoded, file_size=file_size)


def bombs():
    """Signed files of a few kB that grow on reading, or make it slow."""
    document = json.loads(TEXT)
    texts = {
        "8 MiB of brackets": b"[" * (8 << 20),
        "8 MiB of pairs": b"[]" * (4 << 20),
        "8 MiB of strings": b'""' * (4 << 20),
        "8 MiB of escapes": b'"' + b"\\" * ((8 << 20) - 1),
        "8 MiB of closing brackets": b"]" * (8 << 20),
        "as many objects as allowed": b"[" + b"{}," * ((1 << 17) - 2) + b"{}]",
        "as many keys as allowed": b"{" + b",".join(b'"%06d":0' % key for key in range((1 << 18) - 2)) + b"}",
        "as many equal keys as allowed": b"{" + b",".join([b'"a":0'] * ((1 << 18) - 2)) + b"}",
        "as many tensors as allowed": spell(document | {"tensors": document["tensors"][:1] * 18_000}),
    }
    for name, text in texts.items():
        yield name, forge_text(text, b"")
    yield "a zstd bomb that lies about its size", sign(frame_of(bytes(1 << 26)), b"", manifest_size=8 << 20)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to bound the address space")
def test_no_small_file_takes_two_seconds_or_256_mib():
    script = """
import resource, time
from pathlib import Path
from test_artifact_hostile import bombs, refusal
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20),) * 2)  # beyond it, MemoryError
for name, bomb in bombs():
    start = time.process_time()
    assert refusal(bomb).part == "manifest", name
    assert time.process_time() - start < 2, name
"""
    subprocess.run([sys.executable, "-c", script], env=environment(), check=True)


# --- mutants, and what the reader does to the machine


@pytest.mark.parametrize("original", [SAMPLE, COLUMNS], ids=["rows", "columns"])
def test_five_thousand_mutants_of_noise_are_all_refused(original):
    rng, limits = random.Random(20260101), Limits()
    for _ in range(5_000):
        content = unsigned_noise(rng, original)
        assert content == original or judge(content, limits) != "accepted"


@pytest.mark.parametrize("original", [SAMPLE, COLUMNS], ids=["rows", "columns"])
@pytest.mark.parametrize("mutate", MUTATIONS[1:], ids=lambda mutate: mutate.__name__)
def test_a_thousand_signed_mutants_a_kind_are_refused_or_keep_every_promise(mutate, original):
    rng, limits = random.Random(20260102), Limits()
    verdicts = set()
    for _ in range(1_000):
        content = mutate(rng, original)
        start = time.process_time()
        verdicts.add(judge(content, limits))
        assert time.process_time() - start < 2
    assert len(verdicts) >= 2, "the mutants reach only one check"


def test_reading_opens_one_file_for_reading_and_does_nothing_else(tmp_path):
    path = tmp_path / "model.golf"
    path.write_bytes(SAMPLE)
    script = f"""
import sys
from pathlib import Path
from golf.artifact import open_artifact, parse_artifact
from golf.errors import DamagedFile
path = Path({str(path)!r})
hostile = path.read_bytes()[:-1] + b"?"
events = []
sys.addaudithook(lambda event, arguments: events.append((event, arguments)))
artifact = open_artifact(path)
for payload in artifact.payloads():
    artifact.read(payload.name)
try:
    parse_artifact(hostile)
except DamagedFile:
    pass
seen = list(events)
for event, arguments in seen:
    assert event == "open" and arguments[0] == str(path) and not arguments[2] & 3, (event, arguments)
print(len(seen))
"""
    assert int(subprocess.check_output([sys.executable, "-c", script], env=environment())) >= 1
