"""The manifest's claim, of this release and of the one before."""

import json
from dataclasses import replace

import pytest

from golf.artifact import BudgetEntry, Claim, Manifest, TokenizerEntry
from golf.artifact.manifest import manifest_from_json
from golf.errors import DamagedFile

CLAIM = Claim(
    val_loss=2.0,
    bpb=1.5,
    tokens=64,
    bytes=100,
    text_sha256="0" * 64,
    device="cpu",
    dtype="float32",
    tolerance=5e-4,
    float_val_loss=2.0,
    float_bpb=1.5,
)
MANIFEST = Manifest(
    golf="0.11.0",
    recipe={},
    model={},
    tokenizer=TokenizerEntry(kind="bytes", vocab_size=260, sha256="0" * 64),
    tensors=(),
    content_sha256="0" * 64,
    claim=CLAIM,
    budget=BudgetEntry(cap=1000, code_bytes=0),
    versions={},
)


def test_a_claim_of_golf_0_11_0_has_no_counted_bytes():
    """Its restoring_bits stand alone; the contest's number is then golf's own."""
    document = json.loads(json.dumps(replace(MANIFEST, claim=replace(CLAIM, restoring_bits=5)).to_json()))
    assert "counted_bytes" not in document["claim"]
    read = manifest_from_json(document)
    assert read.claim == replace(CLAIM, restoring_bits=5) and read.claim.contest_bpb == CLAIM.bpb


def test_what_a_lossy_tokenizer_leaves_out_is_said_by_two_keys():
    claim = replace(CLAIM, restoring_bits=5, counted_bytes=128)
    document = json.loads(json.dumps(replace(MANIFEST, claim=claim).to_json()))
    assert manifest_from_json(document).claim == claim
    assert claim.contest_bpb == pytest.approx(2.0 / 0.6931471805599453 * 64 / 128)
    assert not {"restoring_bits", "counted_bytes"} & MANIFEST.to_json()["claim"].keys()
    with pytest.raises(DamagedFile, match="unknown key"):
        manifest_from_json(document, version=8)
    del document["claim"]["restoring_bits"]
    with pytest.raises(DamagedFile, match=r"counted_bytes is there without"):
        manifest_from_json(document)
