"""Refuse what is no file: reading a pipe, a socket or a device may never end."""

from __future__ import annotations

from pathlib import Path

from golf.errors import UsageError


def regular(path: Path) -> Path:
    """`path` itself, where it is a regular file, a folder, a link to one, or nothing; else raises UsageError."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(f"{path} is no regular file but a pipe, a socket or a device; save its content to a file")
    return path
