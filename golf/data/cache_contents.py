"""What golf has put into a cache folder, to be listed and deleted; anything else in it, links above all, is left alone.

A file counts as golf's when its place and its name are those that golf.data.prepare gives it and it is a plain file in
plain folders. A link is never followed, so nothing outside the folder can be listed or deleted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from golf.errors import EnvironmentFailure
from golf.runtime import durable

_KEY = r"[0-9a-f]{32}"
_TOKENIZER = re.compile(rf"({_KEY})\.(?:model|sha256)")
_TOKENS = re.compile(r"tokens\.json|(?:train|val)_[0-9]{6,}\.bin")
_FOLDERS = ("tokenizers", "tokens")


@dataclass(frozen=True)
class CacheEntry:
    """The files of one tokenizer, or of one tokenized text; `modified` is the newest file's, in seconds since 1970."""

    kind: Literal["tokens", "tokenizer"]
    key: str
    bytes: int
    modified: float
    files: tuple[Path, ...]


def cache_contents(cache: Path) -> list[CacheEntry]:
    """Every entry of the cache, tokenizers first, the oldest first in each kind; none where there is no cache."""
    tokenizers: dict[str, list[Path]] = {}
    for file in _plain(cache / "tokenizers"):
        if named := _TOKENIZER.fullmatch(file.name):
            tokenizers.setdefault(named[1], []).append(file)
    found = [_entry("tokenizer", key, files) for key, files in tokenizers.items()]
    texts = {
        folder.name: [file for file in _plain(folder) if _TOKENS.fullmatch(file.name)]
        for folder in _token_folders(cache)
    }
    found += [_entry("tokens", key, files) for key, files in texts.items() if files]
    return sorted(found, key=lambda entry: (entry.kind != "tokenizer", entry.modified, entry.key))


def clear_cache(cache: Path, entries: Iterable[CacheEntry]) -> int:
    """Delete the entries' files, what a killed process left half-written, and folders that are then empty.

    Returns the bytes that were freed. A training that runs keeps what it has open and makes the rest anew. Raises
    EnvironmentFailure where a file cannot be deleted.
    """
    freed = 0
    for entry in entries:
        # the record first: without it the shards that are left count as absent, whatever happens on the way
        for file in sorted(entry.files, key=lambda file: file.suffix == ".bin"):
            freed += _delete(file)
    folders = [*_token_folders(cache), *(cache / name for name in _FOLDERS if _is_folder(cache / name))]
    for folder in folders:
        sizes = {file: size for file in _plain(folder) if (size := _size(file)) is not None}
        freed += sum(sizes.get(file, 0) for file in durable.sweep(folder))
        with suppress(OSError):  # somebody else's files are in it
            folder.rmdir()
    return freed


def _token_folders(cache: Path) -> list[Path]:
    above = cache / "tokens"
    return [folder for folder in sorted(_names(above)) if re.fullmatch(_KEY, folder.name) and _is_folder(folder)]


def _entry(kind: Literal["tokens", "tokenizer"], key: str, files: list[Path]) -> CacheEntry:
    states = [file.lstat() for file in files]
    return CacheEntry(
        kind, key, sum(state.st_size for state in states), max(state.st_mtime for state in states), tuple(sorted(files))
    )


def _plain(folder: Path) -> Iterator[Path]:
    """The plain files directly in `folder`."""
    return (file for file in _names(folder) if _size(file) is not None)


def _names(folder: Path) -> list[Path]:
    """What lies directly in `folder`; nothing where that is a link, no folder, or not there."""
    if not _is_folder(folder):
        return []
    try:
        return [folder / name for name in os.listdir(folder)]  # noqa: PTH208 (Path.iterdir is lazy)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {folder}: {error.strerror or error}") from error


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _size(path: Path) -> int | None:
    """Bytes of a plain file; None for anything else."""
    try:
        state = path.lstat()
    except OSError:
        return None
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def _delete(file: Path) -> int:
    size = _size(file)
    if size is None or not _is_folder(file.parent):  # gone since it was listed, or replaced by a link
        return 0
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFailure(f"cannot delete {file}: {error.strerror or error}") from error
    return size
