"""Prepared text and folders of shards as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from golf.report.tables import table

if TYPE_CHECKING:
    from golf.data.results import DatasetInfo, Fetched, PreparedDataset


def prepared_table(result: PreparedDataset) -> Table:
    """Written shards by split, and the speed of encoding."""
    made = table(f"wrote {result.folder}", "split", "files", "documents", "tokens", "bytes of text", "per token")
    for name, split in result.splits.items():
        density = f"{split.text_bytes / max(split.tokens - split.documents, 1):.3f}"
        made.add_row(
            name,
            f"{split.files:,}",
            f"{split.documents:,}",
            f"{split.tokens:,}",
            f"{split.text_bytes:,}",
            density,
        )
    text = sum(split.text_bytes for split in result.splits.values())
    lost = text - sum(split.counted_bytes for split in result.splits.values())
    made.caption = f"{text / 1e6 / max(result.encode_seconds, 1e-9):.1f} MB/s; no document is in both splits"
    if lost:
        changed = sum(split.changed_documents for split in result.splits.values())
        made.caption += f"; the tokenizer loses {lost:,} bytes, {changed:,} documents do not come back exactly"
    return made


def fetched_table(result: Fetched) -> Table:
    """Shards that are now on disk."""
    made = table(f"fetched {result.folder}", "", "")
    for split in ("train", "val"):
        counts = [tokens for name, tokens in result.tokens.items() if f"_{split}_" in name]
        made.add_row(split, f"{len(counts):,} shards, {sum(counts):,} tokens")
    made.add_row("tokenizer", result.tokenizer or "bytes")
    made.add_row("all of it", f"{result.bytes:,} bytes; files that were not there before: {len(result.downloaded)}")
    return made


def info_table(info: DatasetInfo) -> Table:
    """One row per shard, and their sum."""
    made = table(f"shards of {info.folder}", "shard", "tokens", "documents", "bytes of text", "per token")
    rows = [(s.name, s.tokens, s.documents, s.bytes) for s in info.shards]
    sizes = [s.bytes for s in info.shards if s.bytes is not None]
    totals = (sum(s.tokens for s in info.shards), sum(s.documents for s in info.shards))
    for name, tokens, documents, size in [*rows, ("total", *totals, sum(sizes) if sizes else None)]:
        if name == "total":
            made.add_section()
        density = "-" if size is None else f"{size / max(tokens - documents, 1):.3f}"
        made.add_row(name, f"{tokens:,}", f"{documents:,}", "-" if size is None else f"{size:,}", density)
    if info.tokenizer is None:
        made.caption = "bytes are not known without a tokenizer: name it with --tokenizer"
    return made


def recipe_lines(folder: str, tokenizer: str | None, vocab_size: int | None, kind: str = "sentencepiece") -> str:
    """The [data] and [tokenizer] sections of a recipe that trains on these shards."""
    lines = ["[data]", 'source = "shards"', f'path = "{folder}"', "", "[tokenizer]", f'kind = "{kind}"']
    if kind == "sentencepiece" and tokenizer is not None:
        lines += [f'path = "{tokenizer}"', f"vocab_size = {vocab_size}"]
    return "\n".join(lines)
