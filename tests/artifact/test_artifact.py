"""An artifact says what was put in, byte for byte the same in every process, and accounts for every byte."""

import base64
import dataclasses
import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import zstandard
from artifact_mutants import DIGEST, sample, sample_manifest, sample_payloads
from hypothesis import given, settings
from hypothesis import strategies as st

from golf.artifact import (
    CODECS,
    HEADER_SIZE,
    BudgetEntry,
    Claim,
    Limits,
    Manifest,
    Payload,
    Section,
    TensorEntry,
    TokenizerEntry,
    assemble,
    compress_zstd,
    decompress_zstd,
    open_artifact,
    parse_artifact,
    write_artifact,
)
from golf.artifact.canonical import MAX_INTEGER, MAX_QUOTES, MAX_VALUES, decode_canonical, encode_canonical
from golf.artifact.columns import fold, unfold
from golf.artifact.dictionary import manifest_dictionary
from golf.artifact.layout import MAX_MANIFEST, Header, parse_header
from golf.artifact.zstd import MAX_WINDOW
from golf.errors import DamagedFile, EnvironmentFailure, UsageError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children),
    max_leaves=20,
)


def test_what_is_assembled_is_what_is_parsed():
    artifact = parse_artifact(sample())
    assert artifact.manifest == sample_manifest()
    assert artifact.payloads() == sample_payloads()
    assert artifact.path is None


def test_assembling_what_was_parsed_gives_the_same_bytes():
    artifact = parse_artifact(sample())
    assert assemble(artifact.manifest, artifact.payloads()) == artifact.content


@settings(max_examples=40)
@given(
    recipe=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=3),
    contents=st.lists(st.binary(max_size=60), max_size=5),
)
def test_any_recipe_and_any_sections_come_back(recipe, contents):
    manifest = dataclasses.replace(sample_manifest(), recipe=recipe)
    payloads = [Payload(f"part_{index}", "ans", len(each), each) for index, each in enumerate(contents)]
    artifact = parse_artifact(assemble(manifest, payloads))
    assert artifact.manifest == manifest
    assert [artifact.read(payload.name) for payload in payloads] == contents
    assert sum(size for _, size in artifact.parts()) == artifact.size


def test_the_ledger_names_every_part_in_order_and_sums_to_the_file():
    artifact = parse_artifact(sample())
    names = [name for name, _ in artifact.parts()]
    assert names == ["header", "manifest", *(payload.name for payload in sample_payloads())]
    assert sum(size for _, size in artifact.parts()) == artifact.size == len(sample())
    assert dict(artifact.parts())["header"] == HEADER_SIZE == 72


def test_a_section_is_found_by_name_or_reported_missing():
    artifact = parse_artifact(sample())
    section = artifact.section("blocks.0.mlp.up.weight/left")
    assert (section.codec, section.length, section.decoded_size) == ("ans", 60, 256)
    with pytest.raises(DamagedFile, match=r"section blocks.0.mlp.up.weight/right: is missing"):
        artifact.read("blocks.0.mlp.up.weight/right")


def test_without_sections_the_file_ends_with_the_manifest():
    artifact = parse_artifact(assemble(sample_manifest(), []))
    assert [name for name, _ in artifact.parts()] == ["header", "manifest"]


def test_weights_are_counted_over_all_tensors():
    assert sample_manifest().weights == 64 * 32 + 4
    scalar = TensorEntry(name="a", shape=(), kind="small", rank=0, parameters={})
    assert scalar.weights == 1


# --- sameness


def test_two_processes_with_other_hash_seeds_write_the_same_bytes():
    script = "from artifact_mutants import sample; import hashlib; print(hashlib.sha256(sample()).hexdigest())"
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    digests = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        digests.add(subprocess.check_output([sys.executable, "-c", script], env=environment, text=True).strip())
    assert digests == {hashlib.sha256(sample()).hexdigest()}


def test_the_order_of_keys_in_memory_does_not_reach_the_file():
    manifest = sample_manifest()
    recipe = dict(reversed(manifest.recipe.items()))
    versions = dict(reversed(manifest.versions.items()))
    assert list(recipe) != list(manifest.recipe)
    shuffled = dataclasses.replace(manifest, recipe=recipe, versions=versions)
    assert assemble(shuffled, sample_payloads()) == sample()


# What golf 0.1.0 wrote (`sample()` with zstd 1.5.7). It must be read for ever; a newer zstd may write other bytes.
GOLDEN = """
iUdPTEYNChoBAAAAfpNirZMDAAAAAAAATAIAAAAAAABfBAAAAAAAAMnl3antpfQ33AzYjhwmLRLzhYgBSlX7Iirwl0BOy4kYKLUv/WRfA/URAIZkaSSA
SR0zRE3QLoZ44P9dotkyzgJZuVtCnzEClRa5pa0kxBZm4AhfAF0AXgANt2Uft+aWuSmGo/a8gHMgaIH2PRAVXfrTGD7Iwmz0vEaOwkiX8qoKFS+cgp5p
Jl8VhTnmu16BuUtvBxf9omtjlAmbLMiVu0ZWuuzpmAr9LnfdZ5GOsTtE+mzDU0yHBBac2HV9HAwGH0gm84rXOyKcl94Wx8ag6+waYRrph/kg47pIl1k7
uKr6Xdb1qyzKXjpVXYbYM17t2nZX2chZV0+0jnQZG3HN66HlXWqntrjnteU5hoGmnZhpoRxqCp1Fz7a2NNP1aYzuoy2gl5Gvn1RXgHkwwGYomELBKktZ
RSLcVU2BfVF7D18XYrQ1f1M+rq8qtuQFSjg1RY2j3nRHV8/g7CoQXHC6bnmNRN4RyssdIlb6i42InGX9gAGRyFdpzMv4RW4wmxKyWJr0fkBZmNhdi+vb
NcTataSECMHZCNlQcGStSCix52SNEJhGnUfAB3l1FqynPKRnW5wxpm/AbLIFyS4Ze14JhLe2rNOod4WcZXSZRVuzVKx4UAY9KECEGGNGdkF0jAQ1KUqN
Ovtv15IgAI+aGngEgaTdiu0xV6Rxla4aTbGvtcQ4DT16IXOCF/q2EIqe+DiDFM5nUmAJl/GuSEWQsK1AJZCSWcBmyT4iJIrm/y0ZLHqxrBnYoBL4I0Bd
IKx62U4xOMmgYSMrwk5UJLaIVTc3VqixNV4b4aCUCQmi0xk40ItC+LWNy2wWxwTPF4rKzQcs2L5vn2KsTAnCggbn41WUqms0L10KOl5IQvq0KPdi5uKC
5cFlfCi1L/1kGACtAABwc21hbGwgdGVuc29ycyABAAehTiUni/fleMOpZ7NnEes5BqfIYD1x1AnnpU2HvcH3BEICeq8fqVt/hliVeN9D5BMWeujZ3Os3
digzgRpxpyNzhiZIL2HGI3lifMEk1EYYPG5NnqGlpcz3LiFAwwS9/Goh5egSF1aINdSX+yErhrSeZWrPBkEWmgtZ9OYpQ58l2dRlT+yNSBn7QNa6ssjg
EhxEGuYUp7jZKpIZrx7Oh1RXWN54HvNPj/SNxxmHEZJaouIlb1VE8lC5FmOc
"""


def test_the_first_version_is_read_for_ever():
    artifact = parse_artifact(base64.b64decode(GOLDEN))
    assert artifact.manifest == sample_manifest()
    assert [payload.name for payload in artifact.payloads()] == [payload.name for payload in sample_payloads()]
    assert artifact.read("tokenizer") == sample_payloads()[0].content


def test_a_reader_written_from_the_specification_alone_agrees():
    content = sample(7)
    magic, version, manifest_crc, size, length, decoded, digest = struct.unpack_from("<8sIIQQQ32s", content)
    assert (magic, version, size) == (b"\x89GOLF\r\n\x1a", 7, len(content))
    assert manifest_crc == zlib.crc32(content[72 : 72 + length])
    assert digest == hashlib.sha256(content[72:]).digest()
    text = zstandard.ZstdDecompressor().decompress(content[72 : 72 + length])
    assert len(text) == decoded
    manifest = json.loads(text)
    payload = content[72 + length :]
    for (name, codec, offset, stored, size, crc), given_one in zip(
        manifest["sections"], sample_payloads(), strict=True
    ):
        section = payload[offset : offset + stored]
        assert (name, codec, size, section) == given_one
        assert int(crc, 16) == zlib.crc32(section)
    assert manifest["tensors"][0] == {
        "name": "blocks.0.mlp.up.weight", "shape": [64, 32], "kind": "matrix", "rank": 4, "parameters": {"step": 0.01}
    }  # fmt: skip
    assert manifest["tokenizer"] == {"kind": "sentencepiece", "vocab_size": 512, "sha256": DIGEST}


def test_the_specification_names_every_key_and_every_bound():
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    records = (Header, Manifest, TokenizerEntry, TensorEntry, Claim, BudgetEntry, Section)
    for name in {field.name for record in records for field in dataclasses.fields(record)}:
        assert re.search(rf"`{name}`|\| {name} \|", text), name
    for bound in (MAX_MANIFEST, MAX_WINDOW, MAX_VALUES, MAX_QUOTES, MAX_INTEGER):
        assert f"{bound:,}" in text
    for codec in CODECS[2]:
        assert f'`"{codec}"`' in text


def test_a_reader_of_columns_written_from_the_specification_alone_agrees():
    content = sample()
    version, length = (struct.unpack_from("<8sIIQQQ32s", content)[place] for place in (1, 4))
    assert version == 11
    dictionary = zstandard.ZstdCompressionDict(manifest_dictionary(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame, payload = content[72 : 72 + length], content[72 + length :]
    manifest = json.loads(zstandard.ZstdDecompressor(dict_data=dictionary).decompress(frame))
    tensors, sections = manifest["tensors"], manifest["sections"]
    assert {key: column[0] for key, column in tensors.items() if key != "parameters"} == {
        "name": "blocks.0.mlp.up.weight", "shape": [64, 32], "kind": "matrix", "rank": 4
    }  # fmt: skip
    assert tensors["parameters"] == {"step": [0.01, None]}
    rows = zip(*(sections[key] for key in ("name", "codec", "decoded_size", "length")), strict=True)
    for (name, codec, size, stored), given_one in zip(rows, sample_payloads(), strict=True):
        assert (name, codec, size, payload[:stored]) == given_one
        payload = payload[stored:]
    assert payload == b""


def test_columns_are_folded_and_unfolded():
    rows = [list(section.to_json()) for section in parse_artifact(sample()).sections]
    document = sample_manifest().to_json() | {"sections": [[row[0], row[1], row[3], row[4]] for row in rows]}
    read = json.loads(json.dumps(document))
    assert unfold(json.loads(json.dumps(fold(document)))) == read
    empty = read | {"tensors": [], "sections": []}
    assert unfold(fold(empty)) == empty


def test_the_dictionary_is_frozen():
    # another byte, and no artifact of this version can be read
    found = hashlib.sha256(manifest_dictionary()).hexdigest()
    assert found == "5c210e8430a9bab96c8b8502fac4b8d1558f247de5bbb77662a4b725ae4d8152"
    assert found in (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")


def test_what_every_manifest_says_costs_next_to_nothing():
    by_columns, by_rows = (parse_artifact(sample(version)).header.manifest_length for version in (8, 7))
    assert by_columns < by_rows / 2


# --- files


def test_a_written_file_is_opened_with_its_path(tmp_path):
    path = tmp_path / "new folder" / "model.golf"
    size = write_artifact(path, sample_manifest(), sample_payloads())
    artifact = open_artifact(path)
    assert (artifact.path, artifact.size, artifact.content) == (path, size, path.read_bytes())


def test_a_missing_file_a_folder_and_a_pipe_are_mistakes_of_the_command(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"no file at .*absent; make one with: golf pack"):
        open_artifact(tmp_path / "absent")
    with pytest.raises(UsageError, match="is a folder"):
        open_artifact(tmp_path)
    with pytest.raises(UsageError, match="is no regular file"):
        open_artifact(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_a_matter_of_the_machine(tmp_path, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(EnvironmentFailure, match=r"cannot read .*model.golf: Permission denied"):
        open_artifact(tmp_path / "model.golf")


def test_an_oversized_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model.golf"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DamagedFile, match=r"file: has 1,099,511,627,776 bytes, over the limit of 1,073,741,824"):
        open_artifact(path)
    with pytest.raises(DamagedFile, match="over the limit of 100"):
        parse_artifact(sample(), Limits(max_file=100))


def test_nothing_is_written_that_could_not_be_read(tmp_path):
    manifest = dataclasses.replace(
        sample_manifest(),
        tensors=(TensorEntry(name="w", shape=(2**15, 2**15), kind="matrix", rank=0, parameters={}),),
    )
    with pytest.raises(UsageError, match=r"could not be read again: file: asks for 4,294,967,296 bytes of memory"):
        write_artifact(tmp_path / "model.golf", manifest, [])
    assert list(tmp_path.iterdir()) == []


def test_a_reader_may_allow_more(tmp_path):
    manifest = dataclasses.replace(
        sample_manifest(),
        tensors=(TensorEntry(name="w", shape=(2**13, 2**12), kind="matrix", rank=0, parameters={}),),
    )
    generous = Limits(small_decoded=1 << 28)
    path = tmp_path / "model.golf"
    write_artifact(path, manifest, [], limits=generous)
    assert open_artifact(path, generous).manifest == manifest
    with pytest.raises(DamagedFile, match="134,217,728 bytes of memory"):
        open_artifact(path)


def test_inspection_is_instant_and_needs_no_heavy_library(tmp_path):
    path = tmp_path / "model.golf"
    noise = random.Random(0).randbytes(160_000)
    write_artifact(path, sample_manifest(), [Payload(f"part_{n}", "ans", 4 * len(noise), noise) for n in range(100)])
    script = f"""
import sys, time
from pathlib import Path
from golf.artifact import open_artifact
assert open_artifact(Path({str(path)!r})).size > 16_000_000
assert not {{"torch", "numpy", "pydantic"}} & set(sys.modules), "a heavy import"
print(time.process_time())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    seconds = float(subprocess.check_output([sys.executable, "-c", script], env=environment, text=True))
    assert seconds < 0.5  # of processor time, Python's own start included; 0.15 on a small machine


# --- inverses


@given(st.binary(min_size=1, max_size=5000), st.sampled_from([1, 3, 19]))
@settings(max_examples=40)
def test_zstd_gives_back_what_it_was_given(content, level):
    assert decompress_zstd(compress_zstd(content, level), expected_size=len(content), part="x") == content


def test_zstd_frames_of_nothing_are_not_written():
    with pytest.raises(ValueError, match="at least one byte"):
        compress_zstd(b"")


def test_the_highest_level_still_keeps_to_the_window_limit():
    content = bytes(9 << 20)
    assert decompress_zstd(compress_zstd(content, 22), expected_size=len(content), part="x") == content


@settings(max_examples=60)
@given(JSON)
def test_canonical_json_gives_back_what_it_was_given(value):
    decoded = decode_canonical(encode_canonical(value), part="x")
    assert decoded == value
    assert encode_canonical(decoded) == encode_canonical(value)


@given(st.text('{}[]",:0123456789.eE+-\\ utrfalsn', max_size=12))
def test_every_accepted_spelling_is_the_canonical_one(text):
    try:
        value = decode_canonical(text.encode(), part="x")
    except DamagedFile:
        return
    assert encode_canonical(value) == text.encode()


@given(st.binary(min_size=14, max_size=50), st.integers(1, 8 << 20))
def test_a_header_gives_back_its_fields(body, manifest_size):
    header = Header.of(body, manifest_length=14, manifest_size=manifest_size, version=2)
    assert parse_header(header.to_bytes() + body) == header
