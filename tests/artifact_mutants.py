"""A small artifact, and the ways to alter it: as noise does, and as a forger does who repairs every digest.

Shared by the hostile tests and by `python -m bench.fuzz_artifact`, which runs the same mutants by the million.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import zstandard

from golf.artifact import (
    HEADER_SIZE,
    VERSION,
    Artifact,
    BudgetEntry,
    Claim,
    Limits,
    Manifest,
    Payload,
    TensorEntry,
    TokenizerEntry,
    assemble,
    compress_zstd,
    decompress_zstd,
    parse_artifact,
)
from golf.artifact.dictionary import manifest_dictionary
from golf.errors import DamagedFile

HEADER = struct.Struct("<8sIIQQQ32s")
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def sample_manifest() -> Manifest:
    up = TensorEntry(name="blocks.0.mlp.up.weight", shape=(64, 32), kind="matrix", rank=4, parameters={"step": 0.01})
    gain = TensorEntry(name="blocks.0.attention.query_gain", shape=(4,), kind="small", rank=0, parameters={})
    return Manifest(
        golf="0.1.0",
        recipe={"name": "tiny", "seed": 0, "optimizer": {"rank": {"kind": "cosine", "end": 0.25}}, "note": 'é"\\\n'},
        model={"layers": 1, "width": 32},
        tokenizer=TokenizerEntry(kind="sentencepiece", vocab_size=512, sha256=DIGEST),
        tensors=(up, gain),
        content_sha256=DIGEST,
        claim=Claim(
            val_loss=2.5, bpb=1.25, tokens=4096, bytes=9000, text_sha256=DIGEST, device="cpu", dtype="float32",
            tolerance=5e-4, float_val_loss=2.49, float_bpb=1.24,
        ),
        budget=BudgetEntry(cap=16_000_000, code_bytes=0),
        versions={"zstandard": "0.25.0", "constriction": "0.5.0"},
    )  # fmt: skip


def sample_payloads() -> list[Payload]:
    rng = random.Random(0)
    pieces, small = rng.randbytes(40), b"small tensors " * 20
    return [
        Payload("tokenizer", "raw", len(pieces), pieces),
        Payload("small", "zstd", len(small), compress_zstd(small)),
        Payload("blocks.0.mlp.up.weight/left", "ans", 256, rng.randbytes(60)),
        Payload("blocks.0.mlp.up.weight/residual", "ans", 2048, rng.randbytes(120)),
    ]


def sample(version: int = VERSION) -> bytes:
    return assemble(sample_manifest(), sample_payloads(), version=version)


# --- taking an artifact apart and signing it again, as a forger can


def split(content: bytes) -> tuple[bytes, bytes]:
    """Manifest text and payload of a sound artifact."""
    length = HEADER.unpack_from(content)[4]
    frame = content[HEADER_SIZE : HEADER_SIZE + length]
    text = zstandard.ZstdDecompressor(dict_data=dictionary_of(version_of(content))).decompress(frame)
    return text, content[HEADER_SIZE + length :]


def version_of(content: bytes) -> int:
    version: int = HEADER.unpack_from(content)[1]
    return version


def dictionary_of(version: int) -> zstandard.ZstdCompressionDict | None:
    """What the manifest's frame is compressed under."""
    if version < 8:
        return None
    return zstandard.ZstdCompressionDict(manifest_dictionary(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def sign(frame: bytes, payload: bytes, *, manifest_size: int, **fields: int) -> bytes:
    """A file whose header fits its content, but for the `fields` that are given."""
    body = frame + payload
    header = {
        "version": 1,
        "manifest_crc32": zlib.crc32(frame),
        "file_size": HEADER_SIZE + len(body),
        "manifest_length": len(frame),
    }
    header |= {"manifest_size": manifest_size} | fields
    return HEADER.pack(b"\x89GOLF\r\n\x1a", *header.values(), hashlib.sha256(body).digest()) + body


def frame_of(text: bytes, version: int = 1, **options: Any) -> bytes:
    """A zstd frame, strict unless options say otherwise; level 1, since a forger does not care."""
    strict = {"level": 1, "write_checksum": True, "write_content_size": True, "write_dict_id": False}
    return zstandard.ZstdCompressor(dict_data=dictionary_of(version), **strict | options).compress(text)


def forge_text(text: bytes, payload: bytes, version: int = 1) -> bytes:
    """A signed file with this manifest text."""
    frame = frame_of(text, version) if text else b"(" * 14
    return sign(frame, payload, manifest_size=len(text), version=version)


def spell(document: Any) -> bytes:
    """Canonical JSON, but for what a forger puts in (NaN, lone surrogates as bytes)."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def forge(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A signed file whose manifest went through `change`, which edits the document in place."""
    text, payload = split(content)
    document = json.loads(text)
    change(document)
    return forge_text(spell(document), payload, version_of(content))


# --- mutants: each returns altered bytes; the signed ones have a digest that fits

SIZES = (0, 1, 13, 14, 71, 72, 73, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**31 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30,
    0.0, -0.0, 0.5, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"),
    "", "a", "..", "/", "tokenizer", "small", "blocks.0.mlp.up.weight/left",
    "\x00", "\x1b[31m", "\ud800", "é", "\U0001f600", "a" * 300, "raw", "zstd", "ans", "matrix", DIGEST, "00000000",
    [], {}, [[]], [{}], {"": 0}, {"name": "x"}, [0] * 9, [2**31] * 8, [1.0, 1.0],
)  # fmt: skip


def noise(rng: random.Random, content: bytes) -> bytes:
    """Alter a few bytes anywhere; half of the time the length stays as it was."""
    altered = bytearray(content)
    choices = rng.choice((3, 7))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(altered) or 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 64)), len(altered) - at)
        match rng.randrange(choices):
            case 0 if altered:
                altered[at] ^= 1 << rng.randrange(8)
            case 1:
                altered[at : at + length] = rng.randbytes(length)
            case 2:
                altered[at : at + length] = rng.choice((b"\0", b"\xff")) * length
            case 3:
                altered[at:at] = rng.randbytes(length)
            case 4:
                altered[at:at] = altered[at : at + length]
            case 5:
                del altered[at : at + length]
            case _:
                del altered[at:]
    return bytes(altered)


def unsigned_noise(rng: random.Random, content: bytes) -> bytes:
    """Noise without a forger."""
    return noise(rng, content)


def signed_header(rng: random.Random, content: bytes) -> bytes:
    """One field of the header lies."""
    text, payload = split(content)
    name = rng.choice(("version", "manifest_crc32", "file_size", "manifest_length", "manifest_size"))
    bits = 32 if name in ("version", "manifest_crc32") else 64
    value = rng.choice((*SIZES, len(content) - 1, len(content) + 1, len(text) + 1, rng.getrandbits(bits)))
    fields = {"manifest_size": len(text), "version": version_of(content)} | {name: value % 2**bits}
    return sign(frame_of(text, version_of(content)), payload, **fields)


def signed_frame(rng: random.Random, content: bytes) -> bytes:
    """The manifest's frame is altered, or of another kind than the one allowed."""
    text, payload = split(content)
    version = version_of(content)
    good = frame_of(text, version)
    skippable = b"\x50\x2a\x4d\x18" + struct.pack("<I", len(text)) + text
    frame = rng.choice((
        noise(rng, good), noise(rng, good), noise(rng, good[:18]) + good[18:],
        frame_of(text, version, write_checksum=False), frame_of(text, version, write_content_size=False),
        good + good, good + b"\0", skippable, good + skippable,
        b"\x27" + good[1:], frame_of(bytes(rng.choice((1, 2**16, 2**22)))), frame_of(b""),
    ))  # fmt: skip
    size = rng.choice((len(text), len(text), 2**16, 2**22, 2**23))
    return sign(frame, payload, manifest_size=size, version=version)


def signed_text(rng: random.Random, content: bytes) -> bytes:
    """The manifest's text is altered as bytes."""
    text, payload = split(content)
    altered = noise(rng, text)
    at = rng.randrange(len(text))
    inserted = rng.choice((b" ", b"[" * 40, b'{"a":' * 40, b"NaN", b"-", b"0", b"\\u0041", b'"', b"\xff", b"1e999"))
    return forge_text(rng.choice((altered, text[:at] + inserted + text[at:])), payload, version_of(content))


def signed_tree(rng: random.Random, content: bytes) -> bytes:
    """A value, key or list of the manifest is replaced, dropped, repeated or added."""
    text, payload = split(content)
    document = json.loads(text)
    for _ in range(rng.choice((1, 1, 2))):
        _alter_node(rng, document)
    return forge_text(spell(document), payload, version_of(content))


def _alter_node(rng: random.Random, document: Any) -> None:
    nodes = [document]
    for node in nodes:  # grows while it is walked
        children = node.values() if isinstance(node, dict) else node
        nodes += [child for child in children if isinstance(child, dict | list)]
    node = rng.choice([each for each in nodes if each] or [document])
    if not node:
        return
    if isinstance(node, dict):
        key: Any = rng.choice(sorted(node))
    else:
        key = rng.randrange(len(node))
    match rng.randrange(6):
        case 0:
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(key, deepcopy(node[key]))
        case 1:
            node[rng.choice(("x", "", "\x1b", "name", "sections"))] = deepcopy(node[key])
        case 2 if type(node[key]) is int:
            node[key] += rng.choice((-1, 1, 8, -node[key] - 1, 2**32))
        case 3 if isinstance(node, list):
            rng.shuffle(node)
        case _:
            node[key] = deepcopy(rng.choice(NASTY))


def signed_payload(rng: random.Random, content: bytes) -> bytes:
    """Stored bytes are altered and every CRC repaired: another sound file, where no codec's own rule is broken."""
    text, payload = split(content)
    document, version = json.loads(text), version_of(content)
    altered = noise(rng, payload)
    for row in document["sections"] if version < 8 else ():
        row[5] = f"{zlib.crc32(altered[row[2] : row[2] + row[3]]):08x}"
    return forge_text(spell(document), altered, version)


MUTATIONS = (unsigned_noise, signed_header, signed_frame, signed_text, signed_tree, signed_payload)


def judge(content: bytes, limits: Limits) -> str:
    """`accepted` or the refused part; anything else than DamagedFile, or a promise that does not hold, escapes."""
    try:
        artifact = parse_artifact(content, limits)
    except DamagedFile as refusal:
        text = str(refusal)
        assert text.isprintable(), text
        assert len(text) < 500, text
        part = refusal.part.partition(" ")[0]
        assert part in ("header", "manifest", "section", "file"), text
        return part
    check_promises(artifact, content, limits)
    return "accepted"


def check_promises(artifact: Artifact, content: bytes, limits: Limits) -> None:
    """What holds for every accepted file, whoever signed it."""
    assert sum(size for _, size in artifact.parts()) == len(content)
    stored = b"".join(payload.content for payload in artifact.payloads())
    assert content.endswith(stored)
    for payload in artifact.payloads():
        if payload.codec == "zstd":
            check_zstd(payload)
    decoded = sum(section.decoded_size for section in artifact.sections) + 4 * artifact.manifest.weights
    assert decoded <= limits.max_decoded


def check_zstd(payload: Payload) -> None:
    """A stored frame decodes to the declared size or is refused."""
    try:
        content = decompress_zstd(payload.content, expected_size=payload.decoded_size, part=f"section {payload.name}")
    except DamagedFile:
        return
    assert len(content) == payload.decoded_size
