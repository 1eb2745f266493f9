"""Write the files of an export into a folder; refuse to overwrite foreign files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from golf.errors import EnvironmentFailure, UsageError
from golf.runtime import durable


def fill_folder(
    folder: Path, contents: Mapping[str, bytes], *, card: str, stale: tuple[str, ...] = (), force: bool
) -> None:
    """Write `contents` by name into `folder`, made if missing.

    Raises UsageError for a folder that is not empty. With `force`, an earlier export, known by the key "golf" in its
    JSON file `card`, is replaced: files of these names are overwritten, and then those that match `stale` and are not
    in `contents` are deleted. Other files there raise UsageError; no file is lost where a write fails.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder with --out")
    try:
        held = sorted(folder.iterdir()) if folder.is_dir() else []
        if held and not force:
            raise UsageError(
                f"{folder} holds {held[0].name} already; name another --out, or write over it with --force"
            )
        if held and not _is_ours(folder / card):
            raise UsageError(f"{folder} was not written by golf export; name another --out")
        for path in held:
            ours = path.name in contents or any(fnmatch(path.name, pattern) for pattern in stale)
            if path.is_dir() or not ours:
                raise UsageError(f"{path} was not written by golf export; take it away, or name another --out")
        for name, content in contents.items():
            durable.write_bytes(folder / name, content)
        for path in held:
            if path.name not in contents:
                path.unlink()
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {error.filename or folder}: {error.strerror or error}") from error


def _is_ours(card: Path) -> bool:
    """Whether the JSON object at `card` was written by an export."""
    try:
        found = json.loads(card.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "golf" in found
