"""Train a small lossless SentencePiece BPE model on text."""

from __future__ import annotations

import hashlib
import heapq
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import sentencepiece

from golf.data.model_proto import VOCAB_LIMIT, Piece, PieceType, build_model, parse_model
from golf.errors import DataError

# Measured on the standard library (1,024 pieces, bytes per token of the validation split): the first 8 KiB of each file
# 2.70, 32 KiB 2.72, whole files 2.71. The limit keeps one large document from dominating the vocabulary.
_DOCUMENT_LIMIT = 32 << 10
# Ten million characters train in 3 s on one core; more changed no measurement.
_SAMPLE_LIMIT = 10_000_000
# Share of the text that single characters cover; rarer ones become byte pieces. .999 and .9999 give the same bytes per
# token within 0.2 %.
_COVERAGE = 0.9995
# Characters of a piece. Indentation needs long pieces: 16 characters give 1 % fewer bytes per token, 64 no more.
_LONGEST_PIECE = 32
# pad, bos, eos, unk, and 256 bytes
_SPECIAL = 4 + 256

# SentencePiece's trainer forbids pieces that end in a space, treats a tab as a boundary and drops line ends. For pieces
# across words these four are replaced by private-use characters, which it does not treat specially, during training,
# and restored afterwards: 2.71 bytes per token; 2.55 with split_by_whitespace off alone, 2.36 with neither.
_STAND_INS = {" ": "\ue000", "\t": "\ue001", "\n": "\ue002", "\r": "\ue003"}
_HIDE = str.maketrans(_STAND_INS)
_REVEAL = str.maketrans({mark: "▁" if char == " " else char for char, mark in _STAND_INS.items()})
# Never single pieces: the stand-ins themselves, the space mark, the trainer's mark of unknowns, and NUL.
_RESERVED = {*_STAND_INS.values(), "▁", "▅", "\0"}


def train_sentencepiece(texts: Iterable[str], vocab_size: int, *, across_words: bool = False) -> bytes:
    """Train a lossless BPE model of exactly `vocab_size` pieces; the same texts in any order give the same bytes.

    Ids follow the contest: pad 0, bos 1, eos 2, unk 3; then 256 byte pieces, merges by priority, single characters.
    With `across_words` a piece may be any run of characters (`):`, line end and indent; `return self.`), which gives
    most bytes per token of code: 2.71 against 2.59. Without it no piece ends in a space or mixes letters with signs.
    Training uses a sample of the texts, chosen by hash, so its time is bounded. Raises DataError where the texts hold
    too few different pieces, naming the largest vocab_size they allow.
    """
    room = vocab_size - _SPECIAL
    if not _SPECIAL <= vocab_size <= VOCAB_LIMIT:
        raise DataError(f"a tokenizer of {vocab_size:,} pieces: {_SPECIAL} to {VOCAB_LIMIT:,} are possible")
    sample = _sample(texts)
    try:
        # half for characters keeps some for merges in scripts of thousands of characters
        return _train_on(sample, vocab_size, limit=room // 2, across_words=across_words)
    except DataError:
        return _train_on(sample, vocab_size, limit=room, across_words=across_words)


def _train_on(sample: list[str], vocab_size: int, *, limit: int, across_words: bool) -> bytes:
    """The model of `sample` with at most `limit` single characters."""
    characters = _frequent_characters(sample, limit=limit)
    if not characters:
        return _without_merges(vocab_size)
    fragments = _fragments(sample, characters)
    if across_words:
        trained = _train([fragment.translate(_HIDE) for fragment in fragments], vocab_size, by_script=False)
        return build_model([Piece(p.text.translate(_REVEAL), p.score, p.type) for p in trained])
    return build_model(_train(list(fragments), vocab_size, by_script=True))


def _sample(texts: Iterable[str]) -> list[str]:
    """Beginnings of the texts with the smallest hashes, up to _SAMPLE_LIMIT characters, in the order of their hashes.

    Law: the same set of texts gives the same sample in any order.
    """
    kept: list[tuple[int, str]] = []
    total = 0
    for text in texts:
        head = text[:_DOCUMENT_LIMIT]
        # negative, so that the heap's first entry has the largest hash
        heapq.heappush(kept, (-int.from_bytes(hashlib.sha256(head.encode()).digest()), head))
        total += len(head)
        while total > _SAMPLE_LIMIT:
            total -= len(heapq.heappop(kept)[1])
    return [head for _, head in sorted(kept, reverse=True)]


def _frequent_characters(sample: list[str], *, limit: int) -> set[str]:
    """The most frequent characters that cover _COVERAGE of the sample, `limit` at most."""
    counts: Counter[str] = Counter()
    for text in sample:
        counts.update(text)
    needed = _COVERAGE * counts.total()
    characters: set[str] = set()
    covered = 0
    # ties are broken by code point, not by order of occurrence
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= needed or len(characters) == limit:
            break
        covered += count
        if char not in _RESERVED:
            characters.add(char)
    return characters


def _fragments(sample: list[str], characters: set[str]) -> Iterator[str]:
    """Yield runs of `characters`: no merge crosses a rare character, which becomes byte pieces."""
    run = re.compile(f"[{re.escape(''.join(sorted(characters)))}]+")
    for text in sample:
        for match in run.finditer(text):
            yield match[0]


def _train(fragments: list[str], vocab_size: int, *, by_script: bool) -> list[Piece]:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(fragments),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=1.0,
            max_sentencepiece_length=_LONGEST_PIECE,
            max_sentence_length=8 * _DOCUMENT_LIMIT,
            split_by_whitespace=False,
            allow_whitespace_only_pieces=True,
            split_by_unicode_script=by_script,
            split_by_number=False,
            num_threads=1,
            minloglevel=3,
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise DataError(_why(str(error), vocab_size)) from None
    return list(parse_model(model.getvalue()).pieces)


def _why(complaint: str, vocab_size: int) -> str:
    if match := re.search(r"to a value <= (\d+)", complaint):
        return (
            f"the training text has too few different pieces for tokenizer.vocab_size = {vocab_size}; "
            f"the largest that works is {min(int(match[1]), VOCAB_LIMIT)}"
        )
    return f"no tokenizer of {vocab_size} pieces can be trained on this text ({complaint.strip()}); use more text"


def _without_merges(vocab_size: int) -> bytes:
    """The model of a text without frequent characters: byte pieces alone; raises DataError where more are wanted."""
    if vocab_size != _SPECIAL:
        raise DataError(
            f"the training text has too few different pieces for tokenizer.vocab_size = {vocab_size}; "
            f"the largest that works is {_SPECIAL}"
        )
    control = PieceType.CONTROL
    names = [("<pad>", control), ("<s>", control), ("</s>", control), ("<unk>", PieceType.UNKNOWN)]
    special = [Piece(text, 0.0, kind) for text, kind in names]
    return build_model(special + [Piece(f"<0x{byte:02X}>", 0.0, PieceType.BYTE) for byte in range(256)])
