"""Refuse what is no file: reading a pipe, a socket or a device may never end."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO

from golf.errors import UsageError


def regular(path: Path) -> Path:
    """`path` itself, where it is a regular file, a folder, a link to one, or nothing; else raises UsageError."""
    try:
        special = path.exists() and not path.is_file() and not path.is_dir()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{str(path)[:40]}...: a file's name cannot be that long") from None
        raise
    if special:
        raise UsageError(f"{path} is no regular file but a pipe, a socket or a device; save its content to a file")
    return path


def opened(file: Path) -> BinaryIO:
    """Open `file` to read its bytes; what the system holds back (/proc/kmsg) ends it, and is not waited for."""
    return open(file, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def user_path(text: str) -> Path:
    """The path that a user wrote: `~` is a home folder, where there is one of that name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
