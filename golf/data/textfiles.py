"""Read text from disk as documents: a UTF-8 file, a folder of files, .jsonl records or .parquet rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

from golf.errors import DataError, EnvironmentFailure
from golf.runtime.regular import opened, regular

# A plain file is cut into documents at line ends: 4 KiB are about a page, and give the hash split of a 1 MB file 250
# documents. A line longer than 64 KiB is cut too, so that memory stays bounded.
DOCUMENT_BYTES = 4 << 10
LINE_LIMIT = 64 << 10
_BLOCK = 1 << 20

# Called with the number of bytes that were just read, 0 for each file that is found; may raise to stop.
Poll = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Document:
    """A text that is read, split and tokenized as one; `name` is its file, with line, row or byte offset."""

    name: str
    text: str


def never_stop(read: int) -> None:
    """Poll that goes on reading."""


def read_documents(path: Path, *, text_field: str, poll: Poll = never_stop) -> Iterator[Document]:
    """Every non-empty document of `path`, in a fixed order.

    A plain file is cut at line ends (a line beyond LINE_LIMIT between characters); its documents joined are the file.
    A folder yields the files below it that are UTF-8 and not hidden, by path. A .jsonl file yields `text_field` of each
    line, a .parquet file that column of each row (with pyarrow: golf[parquet]). Raises DataError where there is no such
    path, no text, text that is not UTF-8, or a bad record, and ImportError without pyarrow.
    """
    if not regular(path).exists():
        raise DataError(f"{path} does not exist, seen from where golf runs; check data.path and data.val_path")
    found = False
    for document in _explained(_folder if path.is_dir() else _file, path, text_field, poll):
        found = True
        yield document
    if not found:
        raise DataError(f"{path} holds no text; name a file or folder with UTF-8 text in it")


def _explained(
    read: Callable[[Path, str, Poll], Iterator[Document]], path: Path, text_field: str, poll: Poll
) -> Iterator[Document]:
    """Call `read`, and raise an OSError as EnvironmentFailure."""
    try:
        yield from read(path, text_field, poll)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def _folder(folder: Path, text_field: str, poll: Poll) -> Iterator[Document]:
    for file in sorted(visible_files(folder, poll=poll), key=lambda file: file.relative_to(folder).as_posix()):
        if file.suffix in (".jsonl", ".parquet") or is_utf8(file, poll=poll):
            name = file.relative_to(folder).as_posix()
            for document in _file(file, text_field, poll):
                yield Document(name + document.name.removeprefix(file.name), document.text)


def visible_files(folder: Path, *, skipped: frozenset[str] = frozenset(), poll: Poll = never_stop) -> Iterator[Path]:
    """Regular files below `folder`, in no defined order, except in hidden folders and in those named in `skipped`.

    Links to folders are not followed.
    """
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in skipped]
        for name in files:
            poll(0)
            file = Path(parent, name)
            if not name.startswith(".") and file.is_file():
                yield file


def text_bytes(path: Path) -> int:
    """Bytes of the files that `read_documents` would look into: the most that the text can have."""
    files = visible_files(path) if path.is_dir() else [regular(path)]
    try:
        return sum(file.stat().st_size for file in files)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename or path}: {error.strerror or error}") from error


def is_utf8(file: Path, *, poll: Poll = never_stop) -> bool:
    """Whether all of `file` is valid UTF-8; it is read block by block."""
    try:
        with TextIOWrapper(opened(file), encoding="utf-8", newline="") as stream:
            while block := stream.read(_BLOCK):
                poll(len(block))
    except UnicodeDecodeError:
        return False
    return True


def _file(file: Path, text_field: str, poll: Poll) -> Iterator[Document]:
    if file.suffix == ".parquet":
        yield from _rows(file, text_field, poll)
        return
    with opened(file) as stream:
        yield from _records(file, stream, text_field, poll) if file.suffix == ".jsonl" else _plain(file, stream, poll)


def _lines(stream: BinaryIO, poll: Poll) -> Iterator[bytes]:
    """Every line of a file, read by parts of at most a block, so that a line without an end is polled too."""
    parts: list[bytes] = []
    while part := stream.readline(_BLOCK):
        poll(len(part))
        parts.append(part)
        if part.endswith(b"\n"):
            yield b"".join(parts)
            parts.clear()
    if parts:
        yield b"".join(parts)


def _records(file: Path, stream: BinaryIO, text_field: str, poll: Poll) -> Iterator[Document]:
    """The text of each line of a .jsonl file; blank lines and empty texts are skipped."""
    for number, line in enumerate(_lines(stream, poll), start=1):
        if line.strip() and (text := _record_text(file, number, line, text_field)):
            yield Document(f"{file.name}:{number}", text)


def _rows(file: Path, text_field: str, poll: Poll) -> Iterator[Document]:
    """The text column of a .parquet file, a group of rows in memory at a time."""
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError("reading .parquet needs pyarrow; install golf[parquet]") from None
    try:
        table = ParquetFile(file)
        if text_field not in table.schema_arrow.names:
            raise DataError(f'{file}: no column "{text_field}"; set data.text_field to the one that holds the text')
        rows = (row for batch in table.iter_batches(columns=[text_field]) for row in batch.column(0).to_pylist())
        for number, text in enumerate(rows, start=1):
            if text is not None and not isinstance(text, str):
                raise DataError(f'{file}, row {number}: column "{text_field}" holds no strings')
            poll(0 if text is None else len(text.encode()))
            if text:
                yield Document(f"{file.name}:{number}", text)
    except ArrowInvalid as error:
        raise DataError(f"{file}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _record_text(file: Path, number: int, line: bytes, text_field: str) -> str:
    where = f"{file}, line {number}"
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start} of the line; convert the file") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); each line of a .jsonl file is one JSON object") from None
    if not isinstance(record, dict) or text_field not in record:
        raise DataError(f'{where}: no field "{text_field}"; set data.text_field to the key that holds the text')
    text = record[text_field]
    if not isinstance(text, str):
        raise DataError(
            f'{where}: field "{text_field}" is no string; set data.text_field to the key that holds the text'
        )
    if not _encodable(text):
        raise DataError(f'{where}: field "{text_field}" holds half a surrogate pair, which is no text; drop the line')
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(file: Path, stream: BinaryIO, poll: Poll) -> Iterator[Document]:
    """The pieces of a plain text file, named by their byte offsets."""
    offset = 0
    for piece in _pieces(stream, poll):
        try:
            yield Document(f"{file.name}:{offset}", piece.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not UTF-8 at byte {offset + error.start}; convert the file") from None
        offset += len(piece)


def _pieces(stream: BinaryIO, poll: Poll) -> Iterator[bytes]:
    """Cut a stream into pieces; the cuts depend on the content alone, not on buffering."""
    rest, ended = b"", False
    while not ended:
        block = stream.read(_BLOCK) or b""
        poll(len(block))
        rest, start, ended = rest + block, 0, not block
        # a cut looks at most one byte past LINE_LIMIT
        while len(rest) - start > (0 if ended else LINE_LIMIT):
            end = _cut(rest, start)
            yield rest[start:end]
            start = end
        rest = rest[start:]


def _cut(buffer: bytes, start: int) -> int:
    """The end of the piece that begins at `start`: after a line end, or at the last character below LINE_LIMIT."""
    limit = start + LINE_LIMIT
    line_end = buffer.find(b"\n", start + DOCUMENT_BYTES - 1, limit)
    if line_end >= 0:
        return line_end + 1
    if limit >= len(buffer):
        return len(buffer)
    # a UTF-8 character has at most three continuation bytes (10xxxxxx); more are no text and are reported on decoding
    return next((end for end in range(limit, limit - 4, -1) if buffer[end] & 0xC0 != 0x80), limit)
