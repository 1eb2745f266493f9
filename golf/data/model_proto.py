"""Parse SentencePiece model files strictly, and write minimal ones.

A model file is a protocol buffer (`sentencepiece_model.proto`). It may come from an untrusted artifact, so it is parsed
here, within bounds, before the C++ library reads it. Field numbers are those of the published schema.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

# The largest token is a uint16; the contest's model is 254 kB, of which 240 kB are its normalisation table.
VOCAB_LIMIT = 1 << 16
SIZE_LIMIT = 16 << 20
# Bytes of a piece. SentencePiece's own trainer allows 16 characters by default; a kilobyte is far above any in use.
PIECE_LIMIT = 1024

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BPE = 2


class PieceType(IntEnum):
    """`ModelProto.SentencePiece.Type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: its text (a space is written U+2581), merge priority (larger first) and type."""

    text: str
    score: float
    type: PieceType

    @property
    def byte(self) -> int | None:
        """The value of a byte piece `<0xE2>`, None for every other piece."""
        match = _BYTE_PIECE.fullmatch(self.text) if self.type is PieceType.BYTE else None
        return int(match[1], 16) if match else None


@dataclass(frozen=True, slots=True)
class PieceModel:
    """The parts of a model file that golf needs."""

    pieces: tuple[Piece, ...]
    byte_fallback: bool
    identity: bool
    """No character is replaced before tokenization."""
    trims_spaces: bool
    """A text's leading space may be the tokenizer's own: `add_dummy_prefix` or `remove_extra_whitespaces` is set."""

    @property
    def lossless(self) -> bool:
        """Every text is decoded exactly: nothing is replaced, trimmed or unknown."""
        return self.identity and not self.trims_spaces and self.byte_fallback


def parse_model(serialized: bytes) -> PieceModel:
    """Read a serialized `ModelProto`; raises ValueError saying what is wrong with it."""
    if len(serialized) > SIZE_LIMIT:
        raise ValueError(f"{len(serialized):,} bytes exceed the limit of {SIZE_LIMIT:,}")
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    replaces_on_decoding = False
    for number, value in _fields(serialized):
        if number == 1:
            pieces.append(_parse_piece(_message(value)))
            if len(pieces) > VOCAB_LIMIT:
                raise ValueError(f"more than {VOCAB_LIMIT} pieces")
        elif number == 2:
            trainer.update(_fields(_message(value)))
        elif number == 3:
            normalizer.update(_fields(_message(value)))
        elif number == 5:
            replaces_on_decoding = bool(dict(_fields(_message(value))).get(2))
    _check_pieces(pieces)
    # add_dummy_prefix, remove_extra_whitespaces and escape_whitespaces are true by default of the schema.
    trims = any([_integer(normalizer, 3, 1), _integer(normalizer, 4, 1)])
    replaces = bool(normalizer.get(2) or normalizer.get(6)) or replaces_on_decoding
    exact = bool(_integer(normalizer, 5, 1)) and not replaces
    fallback = bool(_integer(trainer, 35, 0)) and sum(piece.type is PieceType.BYTE for piece in pieces) == 256
    return PieceModel(tuple(pieces), fallback, exact, trims)


def build_model(pieces: list[Piece]) -> bytes:
    """Serialize a lossless BPE model: byte fallback, nothing replaced or trimmed, the contest's first four ids.

    Law: `parse_model(build_model(pieces)).pieces == tuple(pieces)`, scores as float32. Only the fields that change how
    text is encoded are written, so the file holds no path and no leftover of its training.
    """
    trainer = _number(3, _BPE) + _number(4, len(pieces)) + _number(35, 1)
    trainer += _number(40, 3) + _number(41, 1) + _number(42, 2) + _number(43, 0)
    normalizer = _number(3, 0) + _number(4, 0) + _number(5, 1)
    body = b"".join(_string(1, _piece_body(piece)) for piece in pieces)
    return body + _string(2, trainer) + _string(3, normalizer)


def _check_pieces(pieces: list[Piece]) -> None:
    if len({piece.text for piece in pieces}) != len(pieces):
        raise ValueError("two pieces are equal")
    if any(piece.type is PieceType.BYTE and piece.byte is None for piece in pieces):
        raise ValueError("a byte piece is not written <0x00> to <0xFF>")
    if sum(piece.type is PieceType.UNKNOWN for piece in pieces) != 1:
        raise ValueError("there is not exactly one unknown piece")


def _parse_piece(body: bytes) -> Piece:
    text, score, kind = b"", 0.0, int(PieceType.NORMAL)
    for number, value in _fields(body):
        if number == 1:
            text = _message(value)
        elif number == 2:
            if not isinstance(value, bytes) or len(value) != 4:
                raise ValueError("a score is no float32")
            (score,) = struct.unpack("<f", value)
        elif number == 3:
            if not isinstance(value, int):
                raise ValueError("the type of a piece is no number")
            kind = value
    if not 0 < len(text) <= PIECE_LIMIT:
        raise ValueError(f"a piece has {len(text)} bytes")
    if not math.isfinite(score):
        raise ValueError("a score is not finite")
    return Piece(text.decode("utf-8"), score, PieceType(kind))


def _piece_body(piece: Piece) -> bytes:
    body = _string(1, piece.text.encode("utf-8")) + _tag(2, _FIXED32) + struct.pack("<f", piece.score)
    return body if piece.type is PieceType.NORMAL else body + _number(3, piece.type)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number and value of each entry: int for varints, bytes for everything else."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            size, position = _varint(message, position)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} is not in use")
        if size > len(message) - position:
            raise ValueError("a field runs past the end")
        yield tag >> 3, message[position : position + size]
        position += size


def _integer(fields: dict[int, int | bytes], number: int, default: int) -> int:
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where text or a message belongs")
    return value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it; ten bytes hold 64 bits."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("a number runs past the end")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number has more than ten bytes")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _tag(number: int, wire: int) -> bytes:
    return _encode_varint(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _tag(number, _VARINT) + _encode_varint(value)


def _string(number: int, value: bytes) -> bytes:
    return _tag(number, _BYTES) + _encode_varint(len(value)) + value
