"""Entropy coding of integer symbols by ANS (asymmetric numeral systems), or by zstd where that is smaller or required.

`decode(encode(x)) == x` for every int32 array. The constriction library's coder output is part of the artifact format,
so its version is pinned.
"""

from __future__ import annotations

import struct
from typing import Literal

import constriction
import numpy as np
from numpy.typing import NDArray

from golf.artifact import compress_zstd, decompress_zstd
from golf.compress.quantize import Symbols
from golf.errors import DamagedFile

Coder = Literal["best", "zstd"]

# lowest symbol, size of the alphabet, bytes of the compressed histogram
_ANS_HEADER = struct.Struct("<iII")
# Counts are scaled to 16 bits: rounding them costs below .01 % of the size, and the table stays small.
_TOTAL = 1 << 16
# constriction's fixed-point probabilities sum to 2^24, and every symbol needs at least 1.
MAX_ALPHABET = 1 << 16
_LEVEL = 19


def encode(symbols: Symbols, *, coder: Coder = "best") -> tuple[str, int, bytes]:
    """Symbols of any shape → (codec, decoded size in bytes, payload); codec is "ans" or "zstd"."""
    flat = np.ascontiguousarray(symbols, dtype=np.int32).reshape(-1)
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    if coder == "best" and 1 < high - low + 1 <= MAX_ALPHABET:
        ans = _encode_ans(flat, low, high - low + 1)
        # Below half a bit a symbol, runs may beat an order-0 model; in small sections the histogram costs too much.
        if flat.size > 4096 and len(ans) * 16 > flat.size:
            return "ans", flat.size * 4, ans
        narrow, packed = _encode_zstd(flat, low, high)
        return ("ans", flat.size * 4, ans) if len(ans) < len(packed) else ("zstd", narrow, packed)
    return "zstd", *_encode_zstd(flat, low, high)


def decode(codec: str, payload: bytes, *, count: int, decoded_size: int, part: str) -> Symbols:
    """Inverse of `encode`: symbols (count,) int32; raises DamagedFile naming `part` on malformed input."""
    if codec == "ans":
        if decoded_size != count * 4:
            raise DamagedFile(part, f"declares {decoded_size} bytes for {count} symbols")
        return _decode_ans(payload, count, part)
    width = decoded_size // count if count else 1
    if codec != "zstd" or decoded_size != count * width or width not in (1, 2, 4):
        raise DamagedFile(part, f"codec {codec!r} with {decoded_size} bytes cannot hold {count} symbols")
    content = decompress_zstd(payload, expected_size=decoded_size, part=part)
    return np.frombuffer(content, dtype=f"<i{width}").astype(np.int32)


def ideal_bits(symbols: Symbols) -> float:
    """Order-0 entropy of the symbols in bits, the histogram not counted."""
    flat = symbols.reshape(-1)
    if not flat.size:
        return 0.0
    low = int(flat.min())
    if int(flat.max()) - low < 8 * flat.size + 1024:
        counts = np.bincount(flat - low)
    else:
        _, counts = np.unique(flat, return_counts=True)
    share = counts[counts > 0] / flat.size
    return float(-(share * np.log2(share)).sum() * flat.size)


def _encode_zstd(flat: Symbols, low: int, high: int) -> tuple[int, bytes]:
    """Symbols as the narrowest little-endian integers that hold them, zstd-compressed; returns (raw size, frame)."""
    width = 1 if -128 <= low and high < 128 else 2 if -32768 <= low and high < 32768 else 4
    raw = flat.astype(f"<i{width}").tobytes()
    return len(raw), compress_zstd(raw, _LEVEL)


def _encode_ans(flat: Symbols, low: int, alphabet: int) -> bytes:
    frequencies = _frequencies(np.bincount(flat - low, minlength=alphabet))
    table = compress_zstd(frequencies.tobytes(), _LEVEL)
    coder = constriction.stream.stack.AnsCoder()
    coder.encode_reverse(flat - np.int32(low), _model(frequencies))
    return _ANS_HEADER.pack(low, alphabet, len(table)) + table + coder.get_compressed().astype("<u4").tobytes()


def _decode_ans(payload: bytes, count: int, part: str) -> Symbols:
    if len(payload) < _ANS_HEADER.size:
        raise DamagedFile(part, "shorter than its own header")
    low, alphabet, table_length = _ANS_HEADER.unpack_from(payload)
    words = len(payload) - _ANS_HEADER.size - table_length
    if not 2 <= alphabet <= MAX_ALPHABET or words < 0 or words % 4 or not -(2**31) <= low <= 2**31 - 1 - alphabet:
        raise DamagedFile(part, "symbol table does not fit")
    table = payload[_ANS_HEADER.size : _ANS_HEADER.size + table_length]
    frequencies = np.frombuffer(decompress_zstd(table, expected_size=alphabet * 2, part=part), dtype="<u2")
    if not frequencies.any():
        raise DamagedFile(part, "symbol table is empty")
    compressed = np.frombuffer(payload, dtype="<u4", offset=_ANS_HEADER.size + table_length).astype(np.uint32)
    try:
        coder = constriction.stream.stack.AnsCoder(compressed)
        symbols = coder.decode(_model(frequencies), count)
        left_over = not coder.is_empty()
    except BaseException as error:  # the Rust core reports broken input as a panic, which is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        raise DamagedFile(part, "entropy-coded data is malformed") from None
    if left_over:
        raise DamagedFile(part, "holds more than its symbols")
    return symbols.astype(np.int32) + np.int32(low)


def _frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Counts scaled to about 2^16, at least 1 for every symbol that occurs."""
    scaled = np.maximum(np.rint(counts * ((_TOTAL - 1) / counts.sum())), counts > 0)
    return np.minimum(scaled, _TOTAL - 1).astype("<u2")


def _model(frequencies: NDArray[np.uint16]) -> object:
    """The histogram as constriction's categorical model; absent symbols keep its smallest probability."""
    probabilities = frequencies.astype(np.float64)
    return constriction.stream.model.Categorical(probabilities / probabilities.sum(), perfect=False)
