"""The fixed header of an artifact, and how much a reader lets a file ask for."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import astuple, dataclass
from typing import Self

from golf.artifact.zstd import SMALLEST_FRAME
from golf.errors import DamagedFile

# After PNG's signature (RFC 2083, 12.11): the high bit finds 7-bit transfers, \r\n and \n find line-end conversion,
# \x1a stops a listing on old consoles.
MAGIC = b"\x89GOLF\r\n\x1a"
# The version that is written, and all that are read. Any two differ in at least two bits, so that a flipped bit never
# makes one of them another: there are no versions 3, 5, 6, 9 and 10.
VERSION = 11
VERSIONS = (1, 2, 4, 7, 8, VERSION)
# The first version whose manifest is stored by columns, under a dictionary, and the first whose matrices share one
# section for their scales.
COLUMNS_FROM, SHARED_SCALES_FROM = 8, 8
# The first version whose claims are about the text itself, with what its tokens leave out.
RESTORING_FROM = 11
# A manifest of 256 layers (the most a recipe allows) with five sections a matrix takes about 1.3 MB.
MAX_MANIFEST = 8 << 20
# magic, version, manifest_crc32, file_size, manifest_length, manifest_size, sha256; little endian, no padding
_HEADER = struct.Struct("<8sIIQQQ32s")
HEADER_SIZE = _HEADER.size


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may ask for, in bytes; checked before anything of that size is allocated.

    Decoded size is 4 bytes for every weight plus what every section declares. It may reach `small_decoded` in any file,
    and beyond that `max_expansion` times the file, up to `max_decoded`.
    """

    max_file: int = 1 << 30
    max_decoded: int = 1 << 30
    # 1/8 bit a weight; the packer's useful range ends near 1 bit, which is 32 times the file.
    max_expansion: int = 256
    small_decoded: int = 64 << 20
    # A file of this size may ask for so much of the largest activation of one window, and for so many FLOPs, of one
    # block of a window and of all scored tokens: 30 s and 300 MB on two cores, 2 s until a signal is heard. A larger
    # file may ask for more: activations in proportion to its size, and FLOPs to its square, as weights and text grow.
    small_file: int = 64 << 10
    window_bytes: int = 32 << 20
    block_flops: float = 2e10
    flops: float = 5e11
    max_window_bytes: int = 256 << 20
    max_flops: float | None = None
    """Replaces both limits of FLOPs where it is given."""

    def check_file(self, size: int) -> None:
        """Raise DamagedFile for a file of `size` bytes that is too large to be read at all."""
        if size > self.max_file:
            raise DamagedFile("file", f"has {size:,} bytes, over the limit of {self.max_file:,}")

    def check_decoded(self, decoded: int, *, file_size: int) -> None:
        """Raise DamagedFile when decoding would take more memory than a file of `file_size` may ask for."""
        allowed = min(self.max_decoded, max(self.small_decoded, self.max_expansion * file_size))
        if decoded > allowed:
            raise DamagedFile(
                "file", f"asks for {decoded:,} bytes of memory; {allowed:,} are allowed (golf verify --max-memory)"
            )

    def check_window(self, window_bytes: int, block_flops: float, *, file_size: int) -> None:
        """Raise DamagedFile where one window of a file's model takes more memory or time than its size may ask for."""
        share = max(1.0, file_size / self.small_file)
        allowed = min(self.max_window_bytes, int(self.window_bytes * share))
        if window_bytes > allowed:
            raise DamagedFile(
                "manifest",
                f"one window of its model takes {window_bytes:,} bytes; {allowed:,} are allowed (--max-memory)",
            )
        self._check_flops(block_flops, self.block_flops * share**2, "one block of its model")

    def check_flops(self, flops: float, *, file_size: int) -> None:
        """Raise DamagedFile where scoring takes more FLOPs than a file of `file_size` may ask for."""
        share = max(1.0, file_size / self.small_file)
        self._check_flops(flops, self.flops * share**2, "measuring its model on this text")

    def _check_flops(self, flops: float, usual: float, what: str) -> None:
        allowed = usual if self.max_flops is None else self.max_flops
        if flops > allowed:
            raise DamagedFile(
                "manifest", f"{what} takes {flops:.1e} FLOPs; {allowed:.1e} are allowed (golf verify --max-flops)"
            )


NO_LIMITS = Limits(
    max_decoded=1 << 60, max_expansion=1 << 60, max_window_bytes=1 << 60, window_bytes=1 << 60, max_flops=1e30
)


@dataclass(frozen=True, slots=True)
class Header:
    """The first 72 bytes. Sizes in bytes; `sha256` (32 bytes) covers everything behind the header.

    `manifest_crc32` is that of the stored manifest. The SHA-256 protects; the CRC only tells which part was altered:
    a few bits of a zstd frame change nothing that it decodes to.
    """

    version: int
    manifest_crc32: int
    file_size: int
    manifest_length: int
    manifest_size: int
    sha256: bytes

    @classmethod
    def of(cls, body: bytes, *, manifest_length: int, manifest_size: int, version: int) -> Self:
        """Make the header that belongs in front of `body`, the manifest's frame and the sections."""
        crc32 = zlib.crc32(memoryview(body)[:manifest_length])
        return cls(
            version, crc32, HEADER_SIZE + len(body), manifest_length, manifest_size, hashlib.sha256(body).digest()
        )

    def to_bytes(self) -> bytes:
        """72 bytes; `parse_header` is the inverse."""
        return _HEADER.pack(MAGIC, *astuple(self))


def check_magic(content: bytes) -> None:
    """Raise DamagedFile where these are not the first bytes of an artifact."""
    if content[: len(MAGIC)] != MAGIC[: len(content)] or not content:
        what = "the first bytes are not its magic number" if content else "the file is empty"
        raise DamagedFile("header", f"not a golf artifact ({what})")


def parse_header(content: bytes) -> Header:
    """Header of a whole file, its sizes checked against the file's own; raises DamagedFile.

    SHA-256 and CRC are not compared here: that needs the whole file, this only its first 72 bytes and its length.
    """
    check_magic(content)
    if len(content) < HEADER_SIZE:
        raise DamagedFile("file", f"truncated, {len(content)} of the header's {HEADER_SIZE} bytes; copy it again")
    header = Header(*_HEADER.unpack_from(content)[1:])
    readable = f"this golf reads versions {', '.join(map(str, VERSIONS))}"
    if header.version > VERSION:
        raise DamagedFile("header", f"format version {header.version}; {readable}, a newer one may read it")
    if header.version not in VERSIONS:
        raise DamagedFile("header", f"format version {header.version} does not exist; {readable}")
    _check_sizes(header, len(content))
    return header


def _check_sizes(header: Header, actual: int) -> None:
    if actual < header.file_size:
        raise DamagedFile("file", f"truncated, {actual:,} of {header.file_size:,} bytes; copy the file again")
    if actual > header.file_size:
        raise DamagedFile("file", f"{actual:,} bytes, but it ends at {header.file_size:,}; copy it again")
    behind = header.file_size - HEADER_SIZE
    if not SMALLEST_FRAME <= header.manifest_length <= behind:
        raise DamagedFile(
            "header",
            f"the manifest is stored in {header.manifest_length:,} bytes; {SMALLEST_FRAME} to {behind:,} are possible",
        )
    if not 1 <= header.manifest_size <= MAX_MANIFEST:
        raise DamagedFile(
            "header", f"the manifest decodes to {header.manifest_size:,} bytes; 1 to {MAX_MANIFEST:,} are allowed"
        )
