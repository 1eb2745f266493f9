"""Cache of tokens and tokenizers by digest. A file that does not match its digest counts as absent, not as an error.

Files are replaced atomically, their content is determined by their name, and the record of a set is written last, so
processes that fill one cache at the same time write the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from golf.data.corpus import SPLITS, Split
from golf.data.shards import Tokens, TokenStream, write_shard
from golf.data.tokenizer import Accounting, Tokenizer, load_tokenizer
from golf.errors import DamagedFile, GolfError
from golf.runtime import durable

# The contest's shard size; a shard is gathered in memory, at 2 bytes a token.
SHARD_TOKENS = 100_000_000
_RECORD = "tokens.json"


@dataclass(frozen=True)
class CachedSplit:
    """One split read from the cache."""

    stream: TokenStream
    accounting: Accounting


def cache_key(*parts: str | int) -> str:
    """The cache's name, 32 hex digits, for content that is determined by `parts`."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def read_tokenizer(path: Path) -> Tokenizer | None:
    """The SentencePiece tokenizer that `write_tokenizer` put at `path`; None where it is absent or damaged."""
    try:
        serialized = path.read_bytes()
        if path.with_suffix(".sha256").read_text("ascii") != hashlib.sha256(serialized).hexdigest():
            return None
        return load_tokenizer("sentencepiece", serialized)
    except (OSError, ValueError, DamagedFile):
        return None


def write_tokenizer(path: Path, serialized: bytes) -> None:
    """Write a serialized model at `path`, and its digest next to it."""
    durable.write_bytes(path, serialized)
    durable.write_text(path.with_suffix(".sha256"), hashlib.sha256(serialized).hexdigest())


def write_split(folder: Path, split: str, tokens: Iterable[Tokens]) -> list[str]:
    """Write tokens (n,) uint16, one array after another, as shards of at most SHARD_TOKENS; returns their names."""
    names = []
    for number, block in enumerate(_blocks(tokens)):
        names.append(f"{split}_{number:06d}.bin")
        write_shard(folder / names[-1], block)
    return names


def write_record(folder: Path, splits: Mapping[Split, tuple[list[str], Accounting]]) -> None:
    """Declare the shards of `folder` complete, with their digests and accounting."""
    content = {
        split: {
            "shards": {name: _digest(folder / name) for name in names},
            "accounting": dataclasses.asdict(accounting),
        }
        for split, (names, accounting) in splits.items()
    }
    durable.write_text(folder / _RECORD, _record_text(content))


def read_splits(folder: Path, *, vocab_size: int) -> dict[Split, CachedSplit] | None:
    """The splits of `folder`, each shard checked against its digest; None where anything is absent or damaged."""
    try:
        text = (folder / _RECORD).read_text("utf-8")
        content = json.loads(text)["splits"]
        if text != _record_text(content):
            return None
        return {split: _read_split(folder, content[split], vocab_size) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, GolfError):
        return None


def _record_text(content: dict[Any, Any]) -> str:
    """The record as written: its content and the content's digest, because counts in it are not checked again."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"splits": content, "sha256": digest}, indent=1, sort_keys=True) + "\n"


def _read_split(folder: Path, record: dict[str, Any], vocab_size: int) -> CachedSplit:
    for name, digest in record["shards"].items():
        if _digest(folder / name) != digest:
            raise ValueError(f"{name} was altered")
    stream = TokenStream([folder / name for name in sorted(record["shards"])], vocab_size=vocab_size)
    accounting = Accounting(**record["accounting"])
    if len(stream) != accounting.tokens:
        raise ValueError("the record is of other shards")
    return CachedSplit(stream, accounting)


def _blocks(
    tokens: Iterable[Tokens],
) -> Iterator[Tokens]:
    """`tokens` gathered into arrays of exactly SHARD_TOKENS, the last one shorter."""
    held: list[Tokens] = []
    size = 0
    for array in tokens:
        held.append(array)
        size += len(array)
        while size >= SHARD_TOKENS:
            joined = np.concatenate(held)
            yield joined[:SHARD_TOKENS]
            held, size = [joined[SHARD_TOKENS:]], size - SHARD_TOKENS
    if size:
        yield np.concatenate(held)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
