"""Artifacts from their parts: pure bytes first, then a file that is whole or absent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from golf.artifact.canonical import encode_canonical
from golf.artifact.columns import fold
from golf.artifact.dictionary import manifest_dictionary
from golf.artifact.layout import COLUMNS_FROM, VERSION, Header, Limits
from golf.artifact.manifest import Manifest
from golf.artifact.read import parse_artifact
from golf.artifact.sections import Payload, tile
from golf.artifact.zstd import compress_zstd
from golf.errors import DamagedFile, UsageError
from golf.runtime import durable


def assemble(
    manifest: Manifest, payloads: Sequence[Payload], *, limits: Limits | None = None, version: int = VERSION
) -> bytes:
    """Join a whole file: header, manifest with the table of these payloads, payloads in the given order.

    The same arguments and zstd version give the same bytes in every process. Raises UsageError when `parse_artifact`
    would refuse the result, so no file is written that cannot be read; ValueError for a manifest that is no JSON.
    """
    sections = tile(payloads)
    if version < COLUMNS_FROM:
        text = encode_canonical(manifest.to_json() | {"sections": [section.to_json() for section in sections]})
        frame = compress_zstd(text)
    else:
        rows = [(each.name, each.codec, each.length, each.decoded_size) for each in sections]
        text = encode_canonical(fold(manifest.to_json() | {"sections": rows}))
        frame = compress_zstd(text, dictionary=manifest_dictionary())
    body = b"".join([frame, *(payload.content for payload in payloads)])
    header = Header.of(body, manifest_length=len(frame), manifest_size=len(text), version=version)
    content = header.to_bytes() + body
    try:
        parse_artifact(content, limits)
    except DamagedFile as refusal:
        raise UsageError(f"this artifact could not be read again: {refusal}") from refusal
    return content


def write_artifact(path: Path, manifest: Manifest, payloads: Sequence[Payload], *, limits: Limits | None = None) -> int:
    """Put the assembled artifact at `path`, whole or not at all; returns its size in bytes.

    Raises what `assemble` raises, and EnvironmentFailure when the disk refuses.
    """
    content = assemble(manifest, payloads, limits=limits)
    durable.write_bytes(path, content)
    return len(content)
