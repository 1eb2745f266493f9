"""Tokenize text of any size into shards of the contest's format, on several cores, in bounded memory."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path

import numpy as np

from golf.data.bpe import train_sentencepiece
from golf.data.corpus import SPLITS, Split, validates
from golf.data.shardfolder import UNFINISHED
from golf.data.shards import Tokens, write_shard
from golf.data.textfiles import Document, Poll, never_stop, read_documents
from golf.data.tokenizer import Accounting, Tokenizer, load_tokenizer, with_bos
from golf.errors import DataError, UsageError
from golf.runtime import durable

# The contest's shard size: 200 MB a file.
SHARD_TOKENS = 100_000_000
# UTF-8 bytes that a worker gets at once: a tenth of a second's work, so that the overhead of sending is small.
_CHUNK = 1 << 20
# Chunks that may wait, encoded or not, for each worker.
_AHEAD = 3


@dataclass(frozen=True)
class ShardSet:
    """Written shard files and their accounting, by split."""

    files: dict[Split, list[Path]]
    accounting: dict[Split, Accounting]


def train_tokenizer(
    sources: Sequence[Path], vocab_size: int, *, text_field: str, val_fraction: float, poll: Poll = never_stop
) -> Tokenizer:
    """A SentencePiece model of `vocab_size` pieces, trained on the training split of `sources`."""
    every = _documents(sources, text_field, poll)
    texts = (d.text for d in every if not validates(d.text.encode(), val_fraction))
    return load_tokenizer("sentencepiece", train_sentencepiece(texts, vocab_size))


def make_shards(
    sources: Sequence[Path],
    tokenizer: Tokenizer,
    *,
    out: Path,
    name: str,
    text_field: str,
    val_fraction: float,
    workers: int,
    shard_tokens: int = SHARD_TOKENS,
    step: Callable[[Accounting], None] = lambda _done: None,
    poll: Poll = never_stop,
) -> ShardSet:
    """Write `NAME_train_000000.bin`, ... and `NAME_val_000000.bin`, ... of `sources` into `out`.

    BOS opens each document. The hash of a document's content decides its split, so no document, nor a copy of it, is in
    both splits. The files do not depend on the number of `workers`. `step` is called with the progress, `poll` with the
    bytes that were read; both may raise to stop. Raises UsageError where shards of that name exist, DataError where a
    split is empty; on any error all written shards are deleted.
    """
    refuse_shards(out, name)
    writers = {split: _Writer(out, f"{name}_{split}", shard_tokens) for split in SPLITS}
    totals = dict.fromkeys(SPLITS, Accounting())
    with _unfinished(out, name):
        try:
            texts = _documents(sources, text_field, poll)
            for split, tokens, counted in _encoded(texts, tokenizer, val_fraction, workers):
                writers[split].add(tokens)
                totals[split] = add(totals[split], counted)
                step(add(totals["train"], totals["val"]))
            for split, writer in writers.items():
                writer.close()
                if not totals[split].documents:
                    every = sum(each.documents for each in totals.values())
                    advice = "a larger" if split == "val" else "a smaller"
                    likely = f", as {10 / every:.2g}" if split == "val" and val_fraction < 10 / every < 0.5 else ""
                    raise DataError(
                        f"no document of {every:,} falls into the {split} split at a share of {val_fraction:g}; "
                        f"take {advice} --val-fraction{likely}, or more documents"
                    )
        except BaseException:
            for writer in writers.values():
                writer.discard()
            raise
    return ShardSet({split: writer.files for split, writer in writers.items()}, totals)


def refuse_shards(folder: Path, name: str) -> None:
    """Raise UsageError where `folder` holds whole shards of that name already; those of a killed run are deleted."""
    held = sorted(path for split in SPLITS for path in folder.glob(f"{name}_{split}_[0-9]*.bin"))
    mark = folder / f"{name}{UNFINISHED}"
    if mark.exists():
        writer = mark.read_text(errors="replace").split()[:1]
        if writer and writer[0].isdigit() and int(writer[0]) != os.getpid() and durable.is_alive(int(writer[0])):
            raise UsageError(
                f"process {writer[0]} is writing shards of that name into {folder}; wait for it, or, if it is another "
                f"program, delete {mark}"
            )
        for path in held:
            path.unlink()
    elif held:
        raise UsageError(f"{held[0]} is there already; name another --out or --name, or delete it")


@contextmanager
def _unfinished(folder: Path, name: str) -> Iterator[None]:
    """Keep a mark beside shards while they are written: where a run is killed, nobody takes them for whole."""
    mark = folder / f"{name}{UNFINISHED}"
    text = f"{os.getpid()} is writing these shards, or was killed; golf data prepare makes them again\n"
    durable.write_text(mark, text)
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def add(first: Accounting, second: Accounting) -> Accounting:
    """The accounting of two texts together."""
    names = [field.name for field in fields(Accounting)]
    return Accounting(**{name: getattr(first, name) + getattr(second, name) for name in names})


class _Writer:
    """Gathers tokens into shards of exactly `size`, the last one shorter."""

    def __init__(self, folder: Path, stem: str, size: int) -> None:
        self._folder, self._stem, self._size = folder, stem, size
        self._held: list[Tokens] = []
        self._count = 0
        self.files: list[Path] = []

    def add(self, tokens: Tokens) -> None:
        while len(tokens) >= self._size - self._count:
            cut = self._size - self._count
            self._held.append(tokens[:cut])
            tokens = tokens[cut:]
            self._count = self._size
            self.close()
        if len(tokens):
            self._held.append(tokens)
            self._count += len(tokens)

    def close(self) -> None:
        """Write the gathered tokens as a shard."""
        if self._count:
            path = self._folder / f"{self._stem}_{len(self.files):06d}.bin"
            held, self._held, self._count = self._held, [], 0
            self.files.append(path)
            write_shard(path, np.concatenate(held))

    def discard(self) -> None:
        """Delete the written shards: a partial split could not be told from a complete one."""
        for path in self.files:
            path.unlink(missing_ok=True)


def _documents(sources: Iterable[Path], text_field: str, poll: Poll) -> Iterator[Document]:
    return chain.from_iterable(read_documents(path, text_field=text_field, poll=poll) for path in sources)


Chunk = list[tuple[Split, str]]
Encoded = tuple[Split, Tokens, Accounting]


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, val_fraction: float, workers: int
) -> Iterator[Encoded]:
    """Tokens of all documents in their order, split by split within each chunk."""
    chunks = _chunks(documents, val_fraction)
    if workers == 1:
        for chunk in chunks:
            yield from _encode(chunk, tokenizer)
        return
    context = multiprocessing.get_context("spawn")
    given = (tokenizer.kind, tokenizer.serialized)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=given) as pool:
        waiting: deque[Future[list[Encoded]]] = deque()
        for chunk in chunks:
            waiting.append(pool.submit(_encode_there, chunk))
            if len(waiting) >= _AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _chunks(documents: Iterable[Document], val_fraction: float) -> Iterator[Chunk]:
    """Documents with their splits, about _CHUNK bytes at a time."""
    chunk: Chunk = []
    size = 0
    for document in documents:
        key = document.text.encode()
        chunk.append(("val" if validates(key, val_fraction) else "train", document.text))
        size += len(key)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _encode(chunk: Chunk, tokenizer: Tokenizer) -> list[Encoded]:
    found = []
    for split in SPLITS:
        parts, total = [], Accounting()
        for own, text in chunk:
            if own == split:
                parts.append(with_bos(tokenizer, text))
                total = total.add(tokenizer, text, parts[-1])
        if parts:
            found.append((split, np.concatenate(parts), total))
    return found


# The tokenizer of a worker process, built once.
_own: list[Tokenizer] = []


def _start(kind: str, serialized: bytes) -> None:
    _own.append(load_tokenizer(kind, serialized))


def _encode_there(chunk: Chunk) -> list[Encoded]:
    return _encode(chunk, _own[0])
