"""The table of sections: what each holds, where it lies, and the proof that together they tile the file."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

from golf.artifact.canonical import MAX_INTEGER, Json
from golf.artifact.layout import COLUMNS_FROM
from golf.artifact.schema import PART, TENSOR_NAME, as_choice, as_integer, as_list, as_text
from golf.artifact.zstd import check_frame
from golf.errors import DamagedFile

# "conditional" came with version 2, "adaptive" and "bpe" with version 8.
_CODECS = ("raw", "zstd", "ans", "conditional", "adaptive", "bpe")
CODECS = {1: _CODECS[:3], 2: _CODECS[:4], 4: _CODECS[:4], 7: _CODECS[:4], 8: _CODECS, 11: _CODECS}
# A section of its own ("tokenizer", "small"), or a tensor's name, a slash and one of its parts ("a.b/left").
_NAME = re.compile(rf"[a-z][a-z0-9_]*|{TENSOR_NAME.pattern}/[a-z][a-z0-9_]*")
_CRC32 = re.compile(r"[0-9a-f]{8}")
_COLUMNS = ("name", "codec", "offset", "length", "decoded_size", "crc32")


class Payload(NamedTuple):
    """A section to be written: `content` are the stored bytes, `decoded_size` the bytes its decoder will allocate."""

    name: str
    codec: str
    decoded_size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the table. Sizes in bytes; `offset` counts from the first byte behind the manifest.

    `crc32` (8 hex digits) is that of the stored bytes. It names the damaged section; the header's SHA-256 protects.
    """

    name: str
    codec: str
    offset: int
    length: int
    decoded_size: int
    crc32: str

    @property
    def part(self) -> str:
        """The name errors use."""
        return f"section {self.name}"

    def to_json(self) -> list[Json]:
        """Return the row as JSON."""
        return list(astuple(self))


def crc32(content: bytes | memoryview) -> str:
    """CRC-32 (that of zlib and PNG) as 8 lower-case hex digits."""
    return f"{zlib.crc32(content):08x}"


def tile(payloads: Sequence[Payload]) -> list[Section]:
    """Make the table of payloads that lie one behind another in this order."""
    sections, offset = [], 0
    for name, codec, decoded_size, content in payloads:
        sections.append(Section(name, codec, offset, len(content), decoded_size, crc32(content)))
        offset += len(content)
    return sections


def sections_from_json(value: Json, body: bytes, *, tensors: frozenset[str], version: int) -> tuple[Section, ...]:
    """Table of a manifest; raises DamagedFile for a malformed row, a name twice, or a part of an unknown tensor.

    `body` is what lies behind the manifest; the rows of a version whose manifest is stored by columns have neither
    offsets nor checksums, and are given those that are the file's.
    """
    rows = [as_list(row, f"sections[{index}]") for index, row in enumerate(as_list(value, "sections"))]
    if version >= COLUMNS_FROM:
        rows = _completed(rows, body)
    sections = tuple(_section(row, f"sections[{index}]", CODECS[version]) for index, row in enumerate(rows))
    seen: set[str] = set()
    for section in sections:
        if section.name in seen:
            raise DamagedFile(section.part, "appears twice")
        seen.add(section.name)
        tensor, slash, _ = section.name.partition("/")
        if slash and tensor not in tensors:
            raise DamagedFile(section.part, f"belongs to tensor {tensor}, which the manifest does not list")
    return sections


def _completed(rows: list[list[Json]], body: bytes) -> list[list[Json]]:
    """Rows of name, codec, length and decoded size, with the offset and the CRC-32 of the bytes there."""
    view, complete, offset = memoryview(body), [], 0
    for index, (name, codec, length, decoded_size) in enumerate(rows):
        size = as_integer(length, f"sections.length[{index}]", 0, len(body))
        stored = view[offset : offset + size]
        complete.append([name, codec, offset, size, decoded_size, crc32(stored)])
        offset += size
    return complete


def _section(row: list[Json], where: str, codecs: tuple[str, ...]) -> Section:
    if len(row) != len(_COLUMNS):
        raise DamagedFile(PART, f"{where} has {len(row)} columns instead of {len(_COLUMNS)} ({', '.join(_COLUMNS)})")
    name = as_text(row[0], f"{where}.name", _NAME)
    return Section(
        name=name,
        codec=as_choice(row[1], f"the codec of {name}", codecs),
        offset=as_integer(row[2], f"the offset of {name}", 0, MAX_INTEGER),
        length=as_integer(row[3], f"the length of {name}", 0, MAX_INTEGER),
        decoded_size=as_integer(row[4], f"the decoded_size of {name}", 0, MAX_INTEGER),
        crc32=as_text(row[5], f"the crc32 of {name}", _CRC32),
    )


def check_tiling(sections: Sequence[Section], *, size: int) -> None:
    """Raise DamagedFile unless the sections fill `size` bytes in order, without hole, overlap or rest."""
    end = 0
    for section in sections:
        if section.offset != end:
            raise DamagedFile(section.part, f"starts at {section.offset:,}, but the one before ends at {end:,}")
        end += section.length
        if end > size:
            raise DamagedFile(section.part, f"ends at {end:,}, behind the last of {size:,} bytes")
    if end != size:
        raise DamagedFile("file", f"{size - end:,} bytes behind the last section belong to none")


def check_stored(section: Section, stored: bytes) -> None:
    """Raise DamagedFile unless the stored bytes match the row: their CRC, and what the codec says of their size."""
    actual = crc32(stored)
    if actual != section.crc32:
        raise DamagedFile(section.part, f"altered: its CRC-32 is {actual}, the manifest says {section.crc32}")
    if section.codec == "raw" and section.decoded_size != section.length:
        raise DamagedFile(
            section.part, f"holds {section.length:,} raw bytes and declares {section.decoded_size:,} decoded ones"
        )
    if section.codec == "zstd":
        check_frame(stored, expected_size=section.decoded_size, part=section.part)
