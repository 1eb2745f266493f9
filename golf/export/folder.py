"""The folder that an export fills."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from golf import durable
from golf.errors import EnvironmentFailure, UsageError


def fill_folder(folder: Path, contents: Mapping[str, bytes], *, stale: tuple[str, ...] = (), force: bool) -> None:
    """Write `contents` by name into `folder`, made if missing.

    One that holds something is refused with UsageError; with `force`, files of these names and patterns of `stale` ones
    give way, and nothing else is ever touched: what else lies there is named and refused too.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder with --out")
    try:
        held = sorted(folder.iterdir()) if folder.is_dir() else []
        if held and not force:
            raise UsageError(
                f"{folder} holds {held[0].name} already; name another --out, or write over it with --force"
            )
        for path in held:
            ours = path.name in contents or any(fnmatch(path.name, pattern) for pattern in stale)
            if path.is_dir() or not ours:
                raise UsageError(f"{path} was not written by golf export; take it away, or name another --out")
        for path in held:
            path.unlink()
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
    for name, content in contents.items():
        durable.write_bytes(folder / name, content)
