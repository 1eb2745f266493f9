"""Zstandard frames, written in one form and read in that form only.

By default the library believes a frame's own size, tolerates bytes behind it and needs no checksum; each is a way for
an altered file to pass or for a small one to fill the memory. See RFC 8878, 3.1.1, for the frame.
"""

from __future__ import annotations

import zstandard

from golf.errors import DamagedFile, EnvironmentFailure

# Level 22 is no smaller than 19 on packed weights and takes a third longer.
LEVEL = 19
# magic 4, descriptor 1, content size 1, block header 3, one byte, checksum 4
SMALLEST_FRAME = 14
# ZSTD_WINDOWLOG_LIMIT_DEFAULT: what any zstd decoder accepts without being asked to; level 22 reaches it.
MAX_WINDOW = 1 << 27
_MAGIC = b"\x28\xb5\x2f\xfd"
# Bits of the frame header descriptor (RFC 8878, 3.1.1.1.1)
_UNUSED_AND_RESERVED, _CHECKSUM, _DICTIONARY = 0b0001_1000, 0b0000_0100, 0b0000_0011


def compress_zstd(content: bytes, level: int = LEVEL, *, dictionary: bytes = b"") -> bytes:
    """One frame with content size and checksum, without a dictionary's identifier: what `decompress_zstd` accepts.

    The same content, level and library version give the same bytes. Raises ValueError for empty content, which no
    frame may hold: a decoder returns nothing for it without reading on.
    """
    if not content:
        raise ValueError("a zstd frame of the artifact holds at least one byte")
    compressor = zstandard.ZstdCompressor(
        level=level,
        dict_data=_raw(dictionary),
        write_checksum=True,
        write_content_size=True,
        write_dict_id=False,
    )
    return compressor.compress(content)


def decompress_zstd(frame: bytes, *, expected_size: int, part: str, dictionary: bytes = b"") -> bytes:
    """Content of one frame, exactly `expected_size` bytes; the inverse of `compress_zstd` with the same dictionary.

    Nothing is allocated before the frame's header agrees with `expected_size`. Raises DamagedFile naming `part`, and
    EnvironmentFailure when that many bytes are not to be had.
    """
    check_frame(frame, expected_size=expected_size, part=part)
    try:
        content = zstandard.ZstdDecompressor(dict_data=_raw(dictionary)).decompress(
            frame, max_output_size=expected_size, read_across_frames=False, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise DamagedFile(part, f"the zstd frame does not decode ({error})") from error
    except MemoryError as error:
        raise EnvironmentFailure(f"{expected_size:,} bytes of memory for {part} are not to be had") from error
    if len(content) != expected_size:
        raise DamagedFile(part, f"the zstd frame holds {len(content):,} bytes, {expected_size:,} are declared")
    return content


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    """A dictionary of raw content, which has no identifier."""
    raw = zstandard.DICT_TYPE_RAWCONTENT
    return zstandard.ZstdCompressionDict(dictionary, dict_type=raw) if dictionary else None


def check_frame(frame: bytes, *, expected_size: int, part: str) -> None:
    """Check a frame's header alone, in constant time and memory; raises DamagedFile naming `part`."""
    if len(frame) < SMALLEST_FRAME or frame[:4] != _MAGIC:
        raise DamagedFile(part, "holds no zstd frame")
    descriptor = frame[4]
    if descriptor & _UNUSED_AND_RESERVED:
        raise DamagedFile(part, "the zstd frame sets bits that are reserved")
    if descriptor & _DICTIONARY:
        raise DamagedFile(part, "the zstd frame asks for a dictionary")
    if not descriptor & _CHECKSUM:
        raise DamagedFile(part, "the zstd frame has no checksum")
    try:
        frame_header = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError as error:
        raise DamagedFile(part, f"the zstd frame's header does not decode ({error})") from error
    _check_declared(frame_header, expected_size, part)


def _check_declared(frame_header: zstandard.FrameParameters, expected_size: int, part: str) -> None:
    declared = frame_header.content_size
    if declared == zstandard.CONTENTSIZE_UNKNOWN:
        raise DamagedFile(part, "the zstd frame does not state its content size")
    if declared == 0:
        raise DamagedFile(part, "the zstd frame states a content size of 0")
    if declared != expected_size:
        raise DamagedFile(part, f"the zstd frame states {declared:,} bytes, {expected_size:,} are declared")
    if frame_header.window_size > MAX_WINDOW:
        raise DamagedFile(part, f"the zstd frame's window is {frame_header.window_size:,} bytes, over {MAX_WINDOW:,}")
