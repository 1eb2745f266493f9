"""Split a corpus into train and validation documents, by hash.

Laws: the order is fixed; no document of one split is in the other, not even as a copy under another name; a document's
split does not depend on the other documents.
"""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from golf.data.textfiles import Document, Poll, never_stop, read_documents, visible_files
from golf.errors import DataError
from golf.recipe import Data
from golf.runtime.regular import user_path

Split = Literal["train", "val"]
SPLITS: tuple[Split, Split] = ("train", "val")

# Tests are data tables more than code, bundled packages differ between machines, idlelib's tests are named idle_test.
_SKIPPED = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
# Generated when Python is built; contains that machine's paths and flags.
_BUILT = "_sysconfigdata"
# Prefix of the hashed key. Chosen among a dozen by how representative CPython 3.11's split is: 507 kB in 30 files;
# `xz -9e` needs 1.54 bits a byte, and 1.62 ± 0.10 on random slices of that size.
_SPLIT = b"golf/data/split\0"


def documents(section: Data, split: Split, *, poll: Poll = never_stop) -> Iterator[Document]:
    """The documents of one split of a text source, in a fixed order, none of them empty.

    The standard library is split by a hash of the file's path, other text by a hash of the document's content, unless
    `val_path` names the validation text. Copies of validation documents are left out of "train". `poll` is called with
    the bytes that were read, of either split, and may raise to stop.
    Raises DataError for missing, empty or malformed text and where a split comes out empty.
    """
    if section.source == "shards":
        raise DataError("token shards hold no documents; their text is not at hand")
    found = False
    for document in _split(section, split, poll):
        found = True
        yield document
    if not found:
        raise DataError(_why_empty(section, split))


def whole_text(path: Path, section: Data, *, poll: Poll = never_stop) -> Iterator[Document]:
    """All documents of `path`, read as `section` reads its own text, without splitting."""
    return read_documents(path, text_field=section.text_field, poll=poll)


def _split(section: Data, split: Split, poll: Poll) -> Iterator[Document]:
    if split == "val":
        return _validation(section, poll)
    withheld = {_digest(document) for document in _validation(section, poll)}
    return (document for document in _training(section, poll) if _digest(document) not in withheld)


def _validation(section: Data, poll: Poll) -> Iterator[Document]:
    if section.source == "stdlib":
        return _stdlib(section, poll, validating=True)
    if section.val_path:
        return whole_text(user_path(section.val_path), section, poll=poll)
    own = _own_text(section, poll)
    return (document for document in own if validates(document.text.encode(), section.val_fraction))


def _training(section: Data, poll: Poll) -> Iterator[Document]:
    """All documents not chosen for validation; copies of validation documents may still be among them."""
    return _stdlib(section, poll, validating=False) if section.source == "stdlib" else _own_text(section, poll)


def _own_text(section: Data, poll: Poll) -> Iterator[Document]:
    if section.path is None:
        raise DataError(f'data.source = "{section.source}" needs data.path')
    return whole_text(user_path(section.path), section, poll=poll)


def _stdlib(section: Data, poll: Poll, *, validating: bool) -> Iterator[Document]:
    """Python's own sources by path; the path decides the split, so only files of the wanted split are read."""
    root = Path(sysconfig.get_path("stdlib"))
    files = visible_files(root, skipped=_SKIPPED, poll=poll)
    names = sorted(file.relative_to(root).as_posix() for file in files if _is_source(file.name))
    for name in names:
        if validates(name.encode(), section.val_fraction) == validating and (text := _source(root / name)):
            poll(len(text.encode()))
            yield Document(name, text)


def _is_source(name: str) -> bool:
    return name.endswith(".py") and not name.startswith(_BUILT)


def _source(file: Path) -> str:
    """Text of a source file, line ends as they are; empty where it is not UTF-8 (a few declare another encoding)."""
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return ""


def validates(key: bytes, share: float) -> bool:
    """Whether a document with this key (its content or its path) hashes into the validation `share`."""
    return int.from_bytes(hashlib.sha256(_SPLIT + key).digest()[:8]) / 2**64 < share


def _digest(document: Document) -> bytes:
    return hashlib.sha256(document.text.encode()).digest()


def _why_empty(section: Data, split: Split) -> str:
    if section.source == "stdlib":
        return (
            f"the {split} split of this Python's standard library is empty; change data.val_fraction, or use a Python "
            f"that comes with its sources"
        )
    if section.val_path:
        return f"nothing of {section.path} is left to train on: all of it is also in data.val_path, {section.val_path}"
    advice = "a larger" if split == "val" else "a smaller"
    return (
        f"no document of {section.path} falls into the {split} split at data.val_fraction = {section.val_fraction}; "
        f"set {advice} val_fraction, or name a validation text as data.val_path"
    )
