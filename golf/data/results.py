"""Results of preparing, counting and fetching shards, as plain values for tables and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SplitEntry:
    """One split of prepared text; `counted_bytes` are the bytes that its tokens stand for, BOS is among the tokens."""

    files: int
    documents: int
    tokens: int
    text_bytes: int
    counted_bytes: int
    changed_documents: int


@dataclass(frozen=True)
class PreparedDataset:
    """Shards that were written from text; `encode_seconds` excludes the tokenizer's training."""

    folder: Path
    tokenizer: str
    vocab_size: int
    splits: dict[str, SplitEntry]
    seconds: float
    encode_seconds: float


@dataclass(frozen=True)
class ShardEntry:
    """One shard; `bytes` are those its tokens stand for, None without a tokenizer."""

    name: str
    tokens: int
    documents: int
    bytes: int | None
    largest_token: int


@dataclass(frozen=True)
class DatasetInfo:
    """A folder of shards, all of which passed their checks."""

    folder: Path
    shards: list[ShardEntry]
    tokenizer: str | None
    vocab_size: int | None


@dataclass(frozen=True)
class Fetched:
    """Published shards that are now on disk; `tokens` by file, `downloaded` the files that were not there before."""

    folder: Path
    tokenizer: str | None
    vocab_size: int | None
    tokens: dict[str, int]
    downloaded: list[str]
    bytes: int
