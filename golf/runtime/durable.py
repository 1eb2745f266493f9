"""Files that are either whole or absent: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from golf.errors import EnvironmentFailure

# Strays of a killed process carry this prefix, its host and its pid; only they are ever swept.
_PREFIX = ".golf-partial-"
_STRAY = re.compile(re.escape(_PREFIX) + r"([0-9a-f]{8})-([0-9]{1,10})-[0-9a-f]{8}")
# What file systems answer that cannot flush a folder (SMB, FUSE).
_CANNOT_SYNC_FOLDER = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that a reader sees the old file or the new one, never a part; errors as `replace`."""
    replace(path, lambda temporary: _fill(temporary, content), need=len(content))


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode("utf-8"))


def replace(path: Path, write: Callable[[Path], object], *, need: int = 0, previous: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there durably; missing folders are made.

    `need` is the size in bytes that a message about a full disk names. With `previous`, a path in the same folder, the
    file that was at `path` ends up there. Law: whenever the process dies, `path` holds its old or its new content, and
    `previous` one that `path` held before; both are whole. Raises EnvironmentFailure, with path and free space, when
    the disk refuses: the old file is then untouched, unless the folder's own flush failed, which is the step after the
    rename. Whatever `write` raises passes through, and leaves nothing behind.
    """
    temporary, kept = temporary_beside(path), None
    try:
        _make_folder(path.parent)
        _refuse_what_is_no_file(path)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        sync(temporary)
        if previous is not None and path.exists():
            kept = temporary_beside(previous)
            _second_name(path, kept)
        temporary.replace(path)
        sync(path.parent)
        # Last, so that a damaged file at `path` never displaces a good `previous` before a good successor is in place.
        if previous is not None and kept is not None:
            kept.replace(previous)
    except OSError as error:
        raise EnvironmentFailure(_explain(path, error, need)) from error
    finally:
        _discard(temporary, kept)


def sweep(folder: Path) -> list[Path]:
    """Delete temporary files in `folder` that a process of this host left when it died; returns what was deleted."""
    swept = []
    for stray in sorted(folder.glob(f"{_PREFIX}*")):
        match = _STRAY.fullmatch(stray.name)
        if match is None or match[1] != _host() or is_alive(int(match[2])):
            continue
        try:
            stray.unlink()
        except OSError:  # a folder of that name, or a disk that is read-only: not worth stopping for
            continue
        swept.append(stray)
    return swept


@contextmanager
def none_if_empty(folder: Path) -> Iterator[None]:
    """Where the body, however it ends, leaves nothing in `folder`, which is not there yet, the folder is gone again.

    So are the folders above it that the body made. A folder that was there before stays.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    finally:
        for place in missing:  # the innermost first; a folder with anything in it refuses
            with suppress(OSError):
                place.rmdir()


def is_alive(pid: int) -> bool:
    """Tell whether this host runs a process `pid`; another user's counts."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDER or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _fill(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        rest = memoryview(content)
        while rest:  # one call writes at most 2 GiB, and less when the disk is nearly full
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    for made in missing:  # a new folder is an entry of its parent, which must reach the disk too
        sync(made.parent)


def _refuse_what_is_no_file(path: Path) -> None:
    """Refuse /dev/null, a pipe or a folder: a rename by root would replace a device for the whole machine."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file")


def _second_name(path: Path, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError:  # a file system without hard links: pay for a copy
        shutil.copyfile(path, name)
        sync(name)


def temporary_beside(path: Path) -> Path:
    """A fresh name in the folder of `path` that `sweep` recognises, for a file that must not outlive this process."""
    return path.with_name(f"{_PREFIX}{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def _host() -> str:
    """Eight hex digits of the host's name: a folder may be shared, and a pid means nothing on another host."""
    return hashlib.sha256(platform.node().encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _discard(*temporaries: Path | None) -> None:
    for temporary in temporaries:
        try:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        except OSError:  # it failed for the reason already being reported; `sweep` finds it later
            continue


def _explain(path: Path, error: OSError, need: int) -> str:
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return f"cannot write {path}: a part of this path is a file, not a folder"
    message = f"cannot write {path}: {error.strerror or error}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return message
    if need:
        message += f"; {need:,} bytes are needed"
    try:
        return f"{message}; {shutil.disk_usage(path.parent).free:,} bytes are free"
    except OSError:
        return message
