"""The text that a model is measured on: its tokens, and the bytes that they were made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from golf import recipe
from golf.data.corpus import documents, whole_text
from golf.data.shardfolder import shard_files
from golf.data.shards import Tokens, TokenStream, open_shard
from golf.data.textfiles import Document
from golf.data.tokenizer import Tokenizer, with_bos
from golf.errors import DataError, Interrupted

# Called for every document; returns True to stop, or raises.
Stop = Callable[[], bool | None]


@dataclass(frozen=True)
class EvaluationText:
    """Tokens (n,) uint16, BOS before each document, and where they are known the documents' own bytes.

    Shards hold tokens alone: their `documents` are None, and so are those of tokens from elsewhere.
    """

    tokens: Tokens
    documents: tuple[bytes, ...] | None = None
    """UTF-8 of each document; the tokens may end within the last one."""
    starts: tuple[int, ...] = ()
    """Place of each document's BOS among the tokens."""
    cut: bool = False
    """Whether the tokens end within the last document."""

    def equals(self, other: EvaluationText) -> bool:
        """Whether tokens and documents are the same: a lossy tokenizer gives different documents the same tokens."""
        theirs = (other.documents, other.starts, other.cut)
        return (self.documents, self.starts, self.cut) == theirs and np.array_equal(self.tokens, other.tokens)

    def first(self, count: int) -> EvaluationText:
        """The text of the first `count` tokens."""
        if count >= len(self.tokens):
            return self
        ends = (*self.starts[1:], len(self.tokens))
        some = sum(start < count for start in self.starts)
        documents = None if self.documents is None else self.documents[:some]
        cut = bool(some) and (ends[some - 1] > count or (self.cut and some == len(self.starts)))
        return EvaluationText(self.tokens[:count], documents, self.starts[:some], cut)

    def pairs(self, tokenizer: Tokenizer, count: int) -> Iterator[tuple[bytes, bytes]]:
        """What the first `count` tokens decode to, document by document, and the text that it stands for.

        Of a document within which they end it is the text's beginning, as many bytes as they decode to. Nothing for
        tokens without documents.
        """
        ends = (*self.starts[1:], len(self.tokens))
        for start, end, document in zip(self.starts, ends, self.documents or (), strict=False):
            if start >= count:
                return
            decoded = tokenizer.decode(self.tokens[start : min(end, count)])
            cut = end > count or (self.cut and end == len(self.tokens))
            yield decoded, document[: len(decoded)] if cut else document


def evaluation_text(
    data: recipe.Data,
    tokenizer: Tokenizer,
    *,
    limit: int | None,
    stop: Stop | None = None,
    most_bytes: int | None = None,
) -> EvaluationText:
    """The validation split alone, at most `limit` tokens.

    Training text is read only to be excluded, and no cache is used. Law: its tokens are the first of
    `prepare(...).val` for the same text and tokenizer. Raises DataError where more than `most_bytes` would be read.
    """
    if data.source == "shards":
        stream = TokenStream(shard_files(data, "val"), vocab_size=tokenizer.vocab_size)
        return EvaluationText(stream.slice(0, len(stream) if limit is None else min(limit, len(stream))))
    read = 0

    def poll(just_read: int) -> None:
        nonlocal read
        read += just_read
        if most_bytes is not None and read > most_bytes:
            raise DataError(
                f"{data.val_path or data.path} goes on after {most_bytes:,} bytes, and no more of it is read; name a "
                "smaller text with --data"
            )
        _ask(stop)

    return _take(documents(data, "val", poll=poll), tokenizer, limit, stop)


def whole_evaluation_text(
    path: Path, data: recipe.Data, tokenizer: Tokenizer, *, limit: int | None, stop: Stop | None = None
) -> EvaluationText:
    """All of another text, read as `data` reads its own, or one `.bin` shard: at most `limit` tokens."""
    if path.suffix == ".bin":
        return EvaluationText(np.array(open_shard(path, tokenizer.vocab_size)[:limit]))
    return _take(whole_text(path, data, poll=lambda _: _ask(stop)), tokenizer, limit, stop)


def _ask(stop: Stop | None) -> None:
    if stop is not None and stop():
        raise Interrupted("stopped while reading the text")


def _take(texts: Iterable[Document], tokenizer: Tokenizer, limit: int | None, stop: Stop | None) -> EvaluationText:
    """Tokens of `texts`, stopping at `limit`."""
    parts, originals, starts, size = [np.zeros(0, dtype=np.uint16)], [], [], 0
    for document in texts:
        _ask(stop)
        parts.append(with_bos(tokenizer, document.text))
        originals.append(document.text.encode())
        starts.append(size)
        size += len(parts[-1])
        if limit is not None and size >= limit:
            break
    tokens = np.concatenate(parts)[:limit]
    return EvaluationText(tokens, tuple(originals), tuple(starts), cut=len(tokens) < size)
