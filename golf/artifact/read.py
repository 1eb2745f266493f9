"""The one parser of artifacts. Whoever holds an `Artifact` holds a file that passed every check."""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from golf.artifact.canonical import decode_canonical
from golf.artifact.columns import unfold
from golf.artifact.dictionary import manifest_dictionary
from golf.artifact.layout import COLUMNS_FROM, HEADER_SIZE, MAGIC, NO_LIMITS, Header, Limits, check_magic, parse_header
from golf.artifact.manifest import Manifest, manifest_from_json
from golf.artifact.schema import PART, as_object
from golf.artifact.sections import Payload, Section, check_stored, check_tiling, crc32, sections_from_json
from golf.artifact.zstd import decompress_zstd
from golf.errors import DamagedFile, EnvironmentFailure, UsageError, naming

# Without it, opening a pipe that nobody writes to would hang the process (Unix only).
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Artifact:
    """A file that passed every check, in memory. `path` is None when it was parsed from bytes.

    Law: `assemble(artifact.manifest, artifact.payloads(), version=artifact.header.version)` gives back the file's
    bytes, with the zstd that wrote it.
    """

    path: Path | None
    header: Header
    manifest: Manifest
    sections: tuple[Section, ...]
    content: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content)

    def section(self, name: str) -> Section:
        """Row of one section; raises DamagedFile when the file has none of that name."""
        try:
            return self._by_name[name]
        except KeyError:
            raise DamagedFile(f"section {name}", "is missing") from None

    def read(self, name: str) -> bytes:
        """Return the stored, still encoded bytes of a section; raises DamagedFile when there is none of that name."""
        section = self.section(name)
        start = HEADER_SIZE + self.header.manifest_length + section.offset
        return self.content[start : start + section.length]

    def parts(self) -> list[tuple[str, int]]:
        """Every part of the file with its bytes, in the order of the file; they sum exactly to `size`."""
        sections = [(section.name, section.length) for section in self.sections]
        return [("header", HEADER_SIZE), ("manifest", self.header.manifest_length), *sections]

    def payloads(self) -> list[Payload]:
        """Return the sections as `assemble` takes them."""
        return [Payload(each.name, each.codec, each.decoded_size, self.read(each.name)) for each in self.sections]

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        return {section.name: section for section in self.sections}


def open_artifact(path: Path, limits: Limits | None = None) -> Artifact:
    """Read and check the file at `path`.

    Raises UsageError when there is no such file, EnvironmentFailure when the machine does not let it be read, and
    DamagedFile, with the part, for every way in which its content is wrong.
    """
    limits = limits or Limits()
    with naming(path):
        return parse_artifact(_read(path, limits), limits, path=path)


def check_start(path: Path) -> None:
    """Raise as `open_artifact` does where there is no file, or where it does not begin as an artifact does."""
    with naming(path):
        check_magic(_read(path, NO_LIMITS, most=len(MAGIC)))


def parse_artifact(content: bytes, limits: Limits | None = None, *, path: Path | None = None) -> Artifact:
    """Check a whole artifact: size, header, SHA-256, manifest, sections; raises DamagedFile with the part.

    Every size is checked before that much is allocated, and nothing is interpreted before its digest is known to match.
    """
    limits = limits or Limits()
    limits.check_file(len(content))
    header = parse_header(content)
    if hashlib.sha256(memoryview(content)[HEADER_SIZE:]).digest() != header.sha256:
        raise _altered(content, header, limits)
    if not _manifest_is_intact(content, header):
        raise DamagedFile("header", "altered: its length or CRC-32 of the manifest is not that of the file")
    artifact = _parse_body(content, header, limits, path)
    for section in artifact.sections:
        check_stored(section, artifact.read(section.name))
    return artifact


def _parse_body(content: bytes, header: Header, limits: Limits, path: Path | None) -> Artifact:
    """Hold the manifest and its table against the file's size and the limits; sections are not looked into."""
    end = HEADER_SIZE + header.manifest_length
    by_columns = header.version >= COLUMNS_FROM
    text = decompress_zstd(
        content[HEADER_SIZE:end],
        expected_size=header.manifest_size,
        part=PART,
        dictionary=manifest_dictionary() if by_columns else b"",
    )
    document = dict(as_object(decode_canonical(text, part=PART), "the manifest"))
    document = unfold(document) if by_columns else document
    if "sections" not in document:
        raise DamagedFile(PART, "the manifest lacks the key 'sections'")
    rows = document.pop("sections")
    manifest = manifest_from_json(document, version=header.version)
    sections = sections_from_json(
        rows,
        content[end:],
        tensors=frozenset(tensor.name for tensor in manifest.tensors),
        version=header.version,
    )
    check_tiling(sections, size=len(content) - end)
    decoded = 4 * manifest.weights + sum(section.decoded_size for section in sections)
    limits.check_decoded(decoded, file_size=len(content))
    return Artifact(path, header, manifest, sections, content)


def _altered(content: bytes, header: Header, limits: Limits) -> DamagedFile:
    """Find the part that was altered in a file that does not match its SHA-256.

    This looks into content that is known to be wrong, which is safe: the same strict parser reads what a forger signed.
    """
    if not _manifest_is_intact(content, header):
        return DamagedFile(PART, "altered: it does not match its CRC-32; copy the file again")
    try:
        artifact = _parse_body(content, header, limits, None)
    except DamagedFile as refusal:
        return refusal
    altered = [section for section in artifact.sections if crc32(artifact.read(section.name)) != section.crc32]
    if not altered and header.version >= COLUMNS_FROM:
        return DamagedFile("file", "altered: its SHA-256 is another, though its manifest is intact; copy it again")
    if not altered:
        return DamagedFile(
            "header", "altered: its SHA-256 is not the file's, though every part is intact; copy the file again"
        )
    more = f", and {len(altered) - 1} more sections" if len(altered) > 1 else ""
    return DamagedFile(altered[0].part, f"altered: it does not match its CRC-32{more}; copy the file again")


def _manifest_is_intact(content: bytes, header: Header) -> bool:
    frame = memoryview(content)[HEADER_SIZE : HEADER_SIZE + header.manifest_length]
    return zlib.crc32(frame) == header.manifest_crc32


def _read(path: Path, limits: Limits, *, most: int | None = None) -> bytes:
    """Bytes of a regular file within the limit; one byte more is asked for, so that a growing file is noticed."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCKING)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is no regular file; give the path of an artifact")
            limits.check_file(status.st_size)
            return file.read(status.st_size + 1 if most is None else most)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no file at {path}; make one with: golf pack") from error
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder; give the path of an artifact") from error
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise EnvironmentFailure(f"not enough memory to read {path}") from error
