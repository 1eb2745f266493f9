"""Write texts as a folder of shards with its tokenizer (golf data prepare), and count a folder (golf data info)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from golf.data import (
    TOKENIZER_FILE,
    Accounting,
    ByteTokenizer,
    Tokenizer,
    check_tokens,
    load_tokenizer,
    make_shards,
    open_shard,
    refuse_shards,
    train_tokenizer,
)
from golf.data.model_proto import VOCAB_LIMIT, parse_model
from golf.data.results import DatasetInfo, PreparedDataset, ShardEntry, SplitEntry
from golf.data.textfiles import Poll
from golf.data.tokenizer import BOS_ID
from golf.errors import DataError, EnvironmentFailure, UsageError, naming
from golf.runtime import durable
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer
from golf.runtime.regular import regular

# Tokens checked at a time: 32 MB.
_BLOCK = 16_000_000
_STOPPED = "stopped while writing shards; none is kept"


def prepare_dataset(
    sources: Sequence[Path],
    *,
    tokenizer: str,
    out: Path,
    name: str,
    text_field: str,
    val_fraction: float,
    workers: int,
    stop: StopFlag,
    observer: Observer = Observer(),
) -> PreparedDataset:
    """Tokenize `sources` (text, folders, .jsonl, .parquet) into `out`.

    `tokenizer` is "bytes", "sp:N" (trained on the training split) or the path of a SentencePiece model, which is copied
    next to the shards. Raises UsageError, DataError, DamagedFile, Interrupted; no new file is then left in `out`.
    """
    began = time.monotonic()
    if not name or Path(name).name != name:
        raise UsageError(f"--name {name}: a name of files, without folders")
    refuse_shards(out, name)
    durable.sweep(out)
    observer.stage("tokenizer", 0.0)

    def poll(_read: int) -> None:
        stop.raise_if_stopped(_STOPPED)

    chosen = _tokenizer(tokenizer, sources, text_field, val_fraction, poll)
    if note := _other_bytes(chosen):
        observer.note(note)
    encoding = time.monotonic()

    def step(done: Accounting) -> None:
        stop.raise_if_stopped(_STOPPED)
        seconds = max(time.monotonic() - encoding, 1e-9)
        speed = done.text_bytes / 1e6 / seconds
        observer.stage(f"encode {done.text_bytes / 1e6:,.0f} MB, {done.tokens:,} tokens, {speed:.1f} MB/s", 0.0)

    with durable.none_if_empty(out), _tokenizer_beside(out, chosen):
        made = make_shards(
            sources,
            chosen,
            out=out,
            name=name,
            text_field=text_field,
            val_fraction=val_fraction,
            workers=workers,
            step=step,
            poll=poll,
        )
    return PreparedDataset(
        folder=out,
        tokenizer=chosen.kind,
        vocab_size=chosen.vocab_size,
        splits={str(split): _entry(len(made.files[split]), counted) for split, counted in made.accounting.items()},
        seconds=round(time.monotonic() - began, 3),
        encode_seconds=round(time.monotonic() - encoding, 3),
    )


def _entry(files: int, counted: Accounting) -> SplitEntry:
    """The SplitEntry of a split of `files` files."""
    return SplitEntry(
        files=files,
        documents=counted.documents,
        tokens=counted.tokens,
        text_bytes=counted.text_bytes,
        counted_bytes=counted.counted_bytes,
        changed_documents=counted.changed_documents,
    )


def _other_bytes(tokenizer: Tokenizer) -> str:
    """A note where the contest's script would count other bytes: it counts a space mark inside a piece as text."""
    pieces = parse_model(tokenizer.serialized).pieces if tokenizer.serialized else ()
    if not (inner := sum("▁" in piece.text[1:] for piece in pieces)):
        return ""
    return (
        f"{inner} of the tokenizer's {tokenizer.vocab_size:,} pieces hold spaces inside; golf counts each as the byte "
        "it is, the contest's script as 3: for bits per byte that agree, take the contest's tokenizer"
    )


@contextmanager
def _tokenizer_beside(out: Path, tokenizer: Tokenizer) -> Iterator[None]:
    """Write the tokenizer's file into `out`; remove it again where making its shards fails.

    Raises UsageError where another tokenizer is there, since existing shards could not be decoded with the new one.
    """
    path = out / TOKENIZER_FILE
    there = path.exists()
    if there and path.read_bytes() != tokenizer.serialized:
        raise UsageError(f"{path} is another tokenizer; name another --out")
    if not there and tokenizer.serialized:
        durable.write_bytes(path, tokenizer.serialized)
    try:
        yield
    except BaseException:
        if not there:
            path.unlink(missing_ok=True)
        raise


def dataset_info(folder: Path, *, tokenizer: Path | None, check: Callable[[], None]) -> DatasetInfo:
    """Count the shards of `folder`, and check every token against the tokenizer where there is one.

    `tokenizer` defaults to tokenizer.model in the folder; without one, bytes are not known. Raises DamagedShard naming
    file and byte offset, DataError where there are no shards.
    """
    paths = sorted(folder.glob("*.bin"))
    if not paths:
        raise DataError(f"no .bin file in {folder}; make some with: golf data prepare")
    known = _folders_tokenizer(folder, tokenizer)
    shards = []
    for path in paths:
        check()
        shards.append(_shard_entry(path, known))
    return DatasetInfo(
        folder=folder,
        shards=shards,
        tokenizer=None if known is None else str(tokenizer or folder / TOKENIZER_FILE),
        vocab_size=None if known is None else known.vocab_size,
    )


def _shard_entry(path: Path, tokenizer: Tokenizer | None) -> ShardEntry:
    tokens = open_shard(path)
    documents, counted, largest, last = 0, 0, 0, BOS_ID
    for start in range(0, len(tokens), _BLOCK):
        block = np.array(tokens[start : start + _BLOCK])
        if tokenizer is not None:
            check_tokens(path, block, tokenizer.vocab_size, first=start)
            counted += int(tokenizer.byte_counts(np.concatenate(([last], block))).sum())
        documents += int((block == BOS_ID).sum())
        largest, last = max(largest, int(block.max())), int(block[-1])
    bytes_ = None if tokenizer is None else counted
    return ShardEntry(path.name, len(tokens), documents, bytes_, largest)


def _folders_tokenizer(folder: Path, given: Path | None) -> Tokenizer | None:
    path = given or folder / TOKENIZER_FILE
    return _load(path) if given or path.exists() else None


def _tokenizer(option: str, sources: Sequence[Path], text_field: str, val_fraction: float, poll: Poll) -> Tokenizer:
    if option.startswith("sp:"):
        if not (option[3:].isascii() and option[3:].isdigit()):
            raise UsageError(f'--tokenizer {option}: write the number of pieces, as in "sp:1024"')
        if not 260 <= int(option[3:][:10]) <= VOCAB_LIMIT:  # before the text is read
            raise UsageError(f"--tokenizer {option}: 260 to {VOCAB_LIMIT:,} pieces are possible")
        return train_tokenizer(sources, int(option[3:]), text_field=text_field, val_fraction=val_fraction, poll=poll)
    return _load(Path(option))


def _load(path: Path) -> Tokenizer:
    """The SentencePiece model at `path`, or the ByteTokenizer where `path` is "bytes"."""
    if path == Path("bytes"):
        return ByteTokenizer()
    try:
        with naming(path):
            return load_tokenizer("sentencepiece", regular(path).read_bytes())
    except FileNotFoundError:
        raise UsageError(f'{path} does not exist; --tokenizer is a SentencePiece model, "sp:1024" or "bytes"') from None
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror or error}") from error
