"""Tokenizers: text ↔ tokens, and the bytes of text that each token stands for."""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import sentencepiece
import zstandard
from numpy.typing import NDArray

from golf.data.bpe_merges import pack_merges
from golf.data.model_proto import PieceModel, PieceType, parse_model
from golf.data.textfiles import Document
from golf.errors import DamagedFile

Tokens = NDArray[np.uint16]

BOS_ID = 1
# Tokens that are decoded at a time, and characters that SentencePiece encodes at a time, at 100 bytes for each.
_BLOCK, _PART = 1 << 18, 1 << 20
# Places that are tried for a cut.
_CUTS = 1000
_SPACE = "▁"
_TEXT = (PieceType.NORMAL, PieceType.USER_DEFINED)
_NO_TEXT = (PieceType.CONTROL, PieceType.UNKNOWN, PieceType.UNUSED)


class Tokenizer(ABC):
    """Base class: text to tokens below `vocab_size` (V) and back, by a table of each token's bytes.

    Tokens that stand for no text (control, unknown, unused) are boundaries; in a model that trims spaces, a token's
    leading space right after a boundary is no text either.
    """

    kind: ClassVar[str]
    bos_id: ClassVar[int] = BOS_ID

    def __init__(self, serialized: bytes, pieces: list[bytes], *, boundary: list[bool], trims_spaces: bool) -> None:
        """Keep `pieces`, the bytes of each token with its leading space, and which tokens are boundaries."""
        self.serialized = serialized
        self.vocab_size = len(pieces)
        self._boundary = np.array(boundary, dtype=np.bool_)
        self._bytes = np.array([len(piece) for piece in pieces], dtype=np.int64)
        self._may_trim = np.array([trims_spaces and piece.startswith(b" ") for piece in pieces], dtype=np.bool_)
        # token + V is the token without its leading space
        self._decoded = pieces + [piece.removeprefix(b" ") for piece in pieces]

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over kind and serialized form: tokenizers of equal digest give equal tokens."""
        return hashlib.sha256(self.kind.encode() + b"\0" + self.serialized).hexdigest()

    @cached_property
    def merges(self) -> bytes | None:
        """The serialized form as `pack_merges` writes it; None where it says more than merges."""
        return pack_merges(self.serialized)

    @cached_property
    def packed_size(self) -> int:
        """Bytes of the serialized form as its merges, or under zstd 19; 0 where there is none."""
        if self.merges is not None:
            return len(self.merges)
        return len(zstandard.ZstdCompressor(level=19).compress(self.serialized)) if self.serialized else 0

    @abstractmethod
    def encode(self, text: str) -> Tokens:
        """Tokens (N,) uint16 of `text`, without BOS. `text` holds no surrogates."""

    def decode(self, tokens: NDArray[np.integer], *, previous: int = BOS_ID) -> bytes:
        """Bytes of `tokens` (N,) that follow the token `previous`.

        Law: `len(decode(tokens[1:], previous=tokens[0])) == byte_counts(tokens).sum()`.
        """
        return b"".join(self.decoded_blocks(tokens, previous))

    def spells(self, tokens: NDArray[np.integer], text: bytes) -> bool:
        """Whether `tokens` (N,), the first of which stands for no text, decode to exactly this text."""
        place = 0
        for block in self.decoded_blocks(tokens):
            if text[place : place + len(block)] != block:
                return False
            place += len(block)
        return place == len(text)

    def decoded_blocks(self, tokens: NDArray[np.integer], previous: int = BOS_ID) -> Iterator[bytes]:
        """The bytes of `tokens`, _BLOCK of them at a time: Python's numbers take 30 bytes each."""
        for start in range(0, len(tokens), _BLOCK):
            before = np.array([previous if start == 0 else tokens[start - 1]], dtype=np.int64)
            context = np.concatenate([before, np.asarray(tokens[start : start + _BLOCK], dtype=np.int64)])
            entries = context[1:] + self.vocab_size * self._trimmed(context)
            yield b"".join(map(self._decoded.__getitem__, entries.tolist()))

    def byte_counts(self, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
        """Bytes of text (N-1,) that each target `tokens[1:]` stands for, given the token before it.

        With the contest's tokenizer they are the contest's: base[t] + (leading_space[t] and not boundary[previous]).
        """
        context = np.asarray(tokens, dtype=np.int64)
        return self._bytes[context[1:]] - self._trimmed(context)

    def count_bytes(self, tokens: NDArray[np.integer]) -> int:
        """The sum of `byte_counts`, in little memory."""
        starts = range(0, max(len(tokens) - 1, 0), _BLOCK)
        return sum(int(self.byte_counts(tokens[start : start + _BLOCK + 1]).sum()) for start in starts)

    def _trimmed(self, context: NDArray[np.int64]) -> NDArray[np.int64]:
        """1 for each of `context[1:]` whose leading space is not text, else 0."""
        return (self._may_trim[context[1:]] & self._boundary[context[:-1]]).astype(np.int64)


class ByteTokenizer(Tokenizer):
    """The contest's byte260: pad 0, bos 1, eos 2, unk 3, byte b is token 4 + b."""

    kind = "bytes"

    def __init__(self) -> None:
        """Build the table of 260 tokens."""
        pieces = [b""] * 4 + [bytes([byte]) for byte in range(256)]
        super().__init__(b"", pieces, boundary=[True] * 4 + [False] * 256, trims_spaces=False)

    def encode(self, text: str) -> Tokens:
        """Tokens (N,) uint16, one for each byte of UTF-8."""
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.uint16) + np.uint16(4)


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model: golf's own are lossless; what a given one changes is counted by `accounting`."""

    kind = "sentencepiece"

    def __init__(self, serialized: bytes) -> None:
        """Read the model; raises ValueError or RuntimeError where the bytes are no model with BOS id 1."""
        model = parse_model(serialized)
        boundary = [piece.type in _NO_TEXT for piece in model.pieces]
        super().__init__(serialized, _piece_bytes(model), boundary=boundary, trims_spaces=model.trims_spaces)
        # Log lines of the C++ library go straight to stderr; 3 leaves fatal ones.
        sentencepiece.set_min_log_level(3)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=serialized)
        if self._processor.vocab_size() != self.vocab_size:
            raise ValueError("SentencePiece reads another number of pieces")
        if self._processor.bos_id() != BOS_ID:
            raise ValueError(f"the piece that opens a document has id {self._processor.bos_id()}, not {BOS_ID}")
        self._trims_spaces = model.trims_spaces
        self._spelled = _spelled(model)
        self._beyond = re.compile("|".join(self._spelled) or "(?!)")

    def encode(self, text: str) -> Tokens:
        """SentencePiece's tokens; with a lossless model, characters that it would not decode exactly as byte pieces."""
        first, *others = _parts(text)
        if not others:
            return self._encode_part(first)
        if not self._trims_spaces:
            return np.concatenate([self._encode_part(part) for part in (first, *others)])
        # a letter keeps the space at the beginning of a part from being trimmed; it must not merge with what follows
        letter, parts = self._encode_part("x"), [self._encode_part(first)]
        for part in others:
            tokens = self._encode_part("x" + part)
            if not part.startswith(" ") or tokens[: len(letter)].tolist() != letter.tolist():
                return self._encode_part(text)
            parts.append(tokens[len(letter) :])
        return np.concatenate(parts)

    def _encode_part(self, text: str) -> Tokens:
        tokens: list[int] = []
        start = 0
        for match in self._beyond.finditer(text):
            tokens += self._processor.encode(text[start : match.start()])
            tokens += self._spelled[match[0]]
            start = match.end()
        return np.array(tokens + self._processor.encode(text[start:]), dtype=np.uint16)


def load_tokenizer(kind: str, serialized: bytes) -> Tokenizer:
    """Tokenizer from bytes that may be hostile; raises DamagedFile where they are not a tokenizer of that kind."""
    if kind == ByteTokenizer.kind:
        if serialized:
            raise DamagedFile(
                "tokenizer", f"kind bytes has no serialized form, yet {len(serialized):,} bytes are given"
            )
        return ByteTokenizer()
    if kind != SentencePieceTokenizer.kind:
        raise DamagedFile("tokenizer", f"kind {kind!r} is neither bytes nor sentencepiece")
    try:
        return SentencePieceTokenizer(serialized)
    except (ValueError, RuntimeError, TypeError, OSError) as error:
        raise DamagedFile("tokenizer", f"not a usable SentencePiece model: {error}") from None


@dataclass(frozen=True, slots=True)
class Accounting:
    """Bytes of a text against bytes of its tokens; they differ where a tokenizer replaces or drops characters."""

    documents: int = 0
    tokens: int = 0
    """BOS included."""
    text_bytes: int = 0
    counted_bytes: int = 0
    """The sum of `byte_counts`, the denominator of the contest's bits per byte."""
    changed_documents: int = 0
    """Documents that are not decoded exactly."""

    def add(self, tokenizer: Tokenizer, text: str, tokens: Tokens) -> Accounting:
        """The accounting with one more document; `tokens` (N,) are those of `text` with BOS before them."""
        original = text.encode("utf-8")
        return Accounting(
            self.documents + 1,
            self.tokens + len(tokens),
            self.text_bytes + len(original),
            self.counted_bytes + tokenizer.count_bytes(tokens),
            self.changed_documents + (not tokenizer.spells(tokens, original)),
        )


def accounting(tokenizer: Tokenizer, documents: Iterable[Document]) -> Accounting:
    """Tokenize `documents` and compare their bytes with those that the tokens count as."""
    total = Accounting()
    for document in documents:
        total = total.add(tokenizer, document.text, with_bos(tokenizer, document.text))
    return total


def with_bos(tokenizer: Tokenizer, text: str) -> Tokens:
    """Tokens (N,) uint16 of a document: BOS, then its text."""
    return np.concatenate([np.array([tokenizer.bos_id], dtype=np.uint16), tokenizer.encode(text)])


def _parts(text: str) -> Iterator[str]:
    """A text in parts of _PART characters at most, cut before a single space where there is one.

    No piece of the contest's tokenizers crosses such a space: cut or not, they give the same tokens. Others may give a
    few others at a cut.
    """
    start = 0
    while len(text) - start > _PART:
        cut = start + _PART
        for _ in range(_CUTS):
            cut = text.rfind(" ", start + _PART // 2, cut)
            if cut < 0 or not (text[cut - 1].isspace() or text[cut + 1].isspace()):
                break
        else:
            cut = -1
        cut = cut if cut > 0 else start + _PART
        yield text[start:cut]
        start = cut
    yield text[start:]


def _piece_bytes(model: PieceModel) -> list[bytes]:
    """The bytes of text each token stands for, spaces as spaces; none for control, unknown and unused tokens."""
    table = []
    for piece in model.pieces:
        if piece.type in _TEXT:
            table.append(piece.text.replace(_SPACE, " ").encode("utf-8"))
        else:
            table.append(b"" if piece.byte is None else bytes([piece.byte]))
    return table


def _spelled(model: PieceModel) -> dict[str, list[int]]:
    """Characters that SentencePiece must not encode, with the byte pieces to use instead; none unless lossless.

    SentencePiece writes a space as U+2581, so a U+2581 of the text would be decoded as a space; and where the model has
    no piece for that mark, it encodes the bytes of the mark instead of the space.
    """
    if not model.lossless:
        return {}
    tokens = {piece.byte: token for token, piece in enumerate(model.pieces) if piece.byte is not None}
    has_space = any(piece.text == _SPACE and piece.type in _TEXT for piece in model.pieces)
    return {char: [tokens[byte] for byte in char.encode()] for char in (_SPACE if has_space else _SPACE + " ")}
