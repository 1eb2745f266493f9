"""Prepare token streams from a recipe's `[data]` and `[tokenizer]`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

from golf import recipe
from golf.data.bpe import train_sentencepiece
from golf.data.cache import (
    CachedSplit,
    cache_key,
    read_splits,
    read_tokenizer,
    write_record,
    write_split,
    write_tokenizer,
)
from golf.data.corpus import SPLITS, Split, documents
from golf.data.shardfolder import shard_files, where_to_get
from golf.data.shards import Tokens, TokenStream
from golf.data.textfiles import Document
from golf.data.tokenizer import Accounting, ByteTokenizer, Tokenizer, load_tokenizer, with_bos
from golf.errors import DataError, EnvironmentFailure, Interrupted, naming
from golf.runtime import durable
from golf.runtime.regular import regular, user_path

# Part of every cache key; increased whenever splitting, tokenizer training or encoding changes its result.
_CACHE_FORMAT = 2

Progress = Callable[[str, float], None]
# Called in every loop; returns True to stop, or raises.
Stop = Callable[[], bool | None]


@dataclass(frozen=True)
class TokenSet:
    """Train and validation tokens, which share no document, and their tokenizer."""

    train: TokenStream
    val: TokenStream
    tokenizer: Tokenizer
    fingerprint: str
    """Digest of both splits' text and of the tokenizer."""
    train_accounting: Accounting | None
    """None for shards, whose text is not available; see `tokenizer.byte_counts`."""
    val_accounting: Accounting | None


def prepare(
    data: recipe.Data,
    tokenizer: recipe.Tokenizer,
    *,
    cache: Path,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> TokenSet:
    """Tokenize the text of `data`, training the tokenizer on its training split where none is given.

    Results are cached under `cache` by digests of the text and the tokenizer; damaged ones are made again. `progress`
    is called with the name of a stage and the share of it that is done. Raises DataError, DamagedShard, DamagedFile for
    a given tokenizer, EnvironmentFailure, and Interrupted once `stop` returns True; finished results stay cached.
    """
    watch = _Watch(progress, stop)
    if data.source == "shards":
        return _shards(data, tokenizer)
    texts = {split: _fingerprint(documents(data, split, poll=watch.poll)) for split in SPLITS}
    chosen = _tokenizer(data, tokenizer, texts["train"], cache / "tokenizers", watch)
    fingerprint = cache_key(_CACHE_FORMAT, texts["train"].digest, texts["val"].digest, chosen.digest)
    folder = cache / "tokens" / fingerprint
    splits = read_splits(folder, vocab_size=chosen.vocab_size) or _encode(data, chosen, texts, folder, watch)
    train, val = splits["train"], splits["val"]
    return TokenSet(train.stream, val.stream, chosen, fingerprint, train.accounting, val.accounting)


class _Watch:
    """Reports progress of a stage and polls `stop`, once per document."""

    def __init__(self, progress: Progress | None, stop: Stop | None) -> None:
        self._progress, self._stop = progress, stop

    def poll(self, _read: int = 0) -> None:
        """Raise Interrupted where a stop is asked for, however much was read."""
        if self._stop is not None and self._stop():
            raise Interrupted("stopped while preparing the data; the same command goes on from what is cached")

    def stage(self, name: str, share: float) -> None:
        self.poll()
        if self._progress is not None:
            self._progress(name, share)

    def over(self, texts: Iterable[Document], name: str, total: int) -> Iterator[Document]:
        """Yield `texts`, whose UTF-8 bytes are `total`, and report the stage's share from 0 to 1."""
        done = 0
        for document in texts:
            self.stage(name, min(1.0, done / total))
            yield document
            done += len(document.text.encode())
        self.stage(name, 1.0)


@dataclass(frozen=True)
class _Fingerprint:
    """Digest and size in bytes of a split's documents."""

    digest: str
    size: int


class _Digest:
    """SHA-256 of documents in order; lengths are hashed too, so that other cuts of one text differ."""

    def __init__(self) -> None:
        self._sha, self._size = hashlib.sha256(), 0

    def add(self, document: Document) -> None:
        text = document.text.encode()
        self._sha.update(len(text).to_bytes(8) + text)
        self._size += len(text)

    def result(self) -> _Fingerprint:
        return _Fingerprint(self._sha.hexdigest(), self._size)


def _fingerprint(texts: Iterable[Document]) -> _Fingerprint:
    digest = _Digest()
    for document in texts:
        digest.add(document)
    return digest.result()


def _tokenizer(
    data: recipe.Data, section: recipe.Tokenizer, train: _Fingerprint, folder: Path, watch: _Watch
) -> Tokenizer:
    """The tokenizer a recipe asks for: bytes, a given model, or one trained on the training split, once."""
    if section.kind == "bytes" or section.path:
        return _given_tokenizer(section)
    key = cache_key(_CACHE_FORMAT, train.digest, section.vocab_size, sentencepiece.__version__)
    path = folder / f"{key}.model"
    if (kept := read_tokenizer(path)) is not None and kept.vocab_size == section.vocab_size:
        return kept
    texts = watch.over(documents(data, "train", poll=watch.poll), "tokenizer", train.size)
    serialized = train_sentencepiece((document.text for document in texts), section.vocab_size)
    write_tokenizer(path, serialized)
    return load_tokenizer("sentencepiece", serialized)


def _given_tokenizer(section: recipe.Tokenizer) -> Tokenizer:
    if section.kind == "bytes":
        return ByteTokenizer()
    path = user_path(section.path or "")
    try:
        serialized = regular(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check tokenizer.path{where_to_get(path)}") from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error
    with naming(path):
        tokenizer = load_tokenizer(section.kind, serialized)
    if tokenizer.vocab_size != section.vocab_size:
        raise DataError(
            f"{path} has {tokenizer.vocab_size} pieces, the recipe says {section.vocab_size}; "
            f"set tokenizer.vocab_size = {tokenizer.vocab_size}"
        )
    return tokenizer


def _encode(
    data: recipe.Data, tokenizer: Tokenizer, texts: dict[Split, _Fingerprint], folder: Path, watch: _Watch
) -> dict[Split, CachedSplit]:
    """Tokenize both splits into `folder` and read them back."""
    if folder.is_dir():
        durable.sweep(folder)
    written = {split: _encode_split(data, split, tokenizer, text, folder, watch) for split, text in texts.items()}
    write_record(folder, written)
    splits = read_splits(folder, vocab_size=tokenizer.vocab_size)
    if splits is None:
        raise EnvironmentFailure(f"{folder} does not read back as it was written; check the disk")
    return splits


def _encode_split(
    data: recipe.Data, split: Split, tokenizer: Tokenizer, text: _Fingerprint, folder: Path, watch: _Watch
) -> tuple[list[str], Accounting]:
    """Write one split's shards; raises DataError if the text no longer has the fingerprint `text`."""
    total, digest = Accounting(), _Digest()

    def tokens() -> Iterator[Tokens]:
        nonlocal total
        for document in watch.over(documents(data, split, poll=watch.poll), f"encode {split}", text.size):
            encoded = with_bos(tokenizer, document.text)
            total = total.add(tokenizer, document.text, encoded)
            digest.add(document)
            yield encoded

    names = write_split(folder, split, tokens())
    if digest.result() != text:
        raise DataError("the text changed while it was being read; run the command again once it is at rest")
    return names, total


def _shards(data: recipe.Data, section: recipe.Tokenizer) -> TokenSet:
    if section.kind == "sentencepiece" and not section.path:
        raise DataError("shards do not hold their tokenizer; name its .model as tokenizer.path")
    tokenizer = _given_tokenizer(section)
    files = {split: shard_files(data, split) for split in SPLITS}
    train, val = (TokenStream(files[split], vocab_size=tokenizer.vocab_size) for split in SPLITS)
    for split, stream in zip(SPLITS, (train, val), strict=True):
        if len(stream) < 2:  # a window needs a token and the one that it predicts
            raise DataError(f"the {split} shards in {data.path} hold {len(stream)} tokens; at least 2 are needed")
    # names and sizes, not the content: it may be 20 GB
    listed = [f"{split} {path.name} {path.stat().st_size}" for split in SPLITS for path in files[split]]
    return TokenSet(train, val, tokenizer, cache_key(tokenizer.digest, *listed), None, None)
