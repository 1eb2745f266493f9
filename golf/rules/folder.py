"""A submission's folder, read with limits: it may be anybody's."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.errors import EnvironmentFailure, UsageError
from golf.loglines import LogFacts, parse_log
from golf.rules.source import Module, read_script

SCRIPT, CARD, README = "train_gpt.py", "submission.json", "README.md"
# Logs of the contest have some hundred kilobytes.
_MAX_TEXT = 64 << 20
_CODE = (
    ".py",
    ".sh",
    ".ipynb",
    ".so",
    ".c",
    ".cpp",
    ".cu",
    ".pyc",
    ".pyx",
    ".rs",
    ".js",
    ".exe",
    ".whl",
    ".zip",
    ".tar",
    ".gz",
)
_MODELS = (".bin", ".ptz", ".pt", ".pth", ".safetensors", ".xz", ".zst", ".npz", ".br")
# What a submission may hold beside its counted code and model.
_FREE = (".md", ".json", ".log", ".txt", ".csv", ".png", ".svg", ".jpg", ".toml")


@dataclass(frozen=True)
class Submission:
    """What lies in a folder; `modules` are the script's Python, unpacked where it packs itself."""

    folder: Path
    files: dict[str, int]
    """bytes by path, sorted"""
    modules: list[Module]
    script_error: str | None
    card: dict[str, Any] | None
    card_error: str | None
    logs: dict[str, LogFacts]

    @property
    def code(self) -> dict[str, int]:
        """Bytes of every file that may run."""
        return {name: size for name, size in self.files.items() if name.lower().endswith(_CODE)}

    @property
    def models(self) -> dict[str, int]:
        """Bytes of every file that may hold weights."""
        return {name: size for name, size in self.files.items() if name.lower().endswith(_MODELS)}

    @property
    def others(self) -> dict[str, int]:
        """Bytes of files of no known kind."""
        known = (*_CODE, *_MODELS, *_FREE)
        return {name: size for name, size in self.files.items() if not name.lower().endswith(known)}


def read_submission(folder: Path) -> Submission:
    """Read the folder; raises UsageError where there is none, EnvironmentFailure where it cannot be read."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make one with: golf export --out {folder}")
    try:
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not _passed_over(path, folder))
        files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        logs = {name: parse_log(_text(folder / name)) for name in files if name.endswith((".log", ".txt"))}
        modules, script_error = _script(folder, files)
        card, card_error = _card(folder, files)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    kept = {name: facts for name, facts in logs.items() if facts.steps or facts.val_bpb is not None}
    return Submission(folder, files, modules, script_error, card, card_error, kept)


def _passed_over(path: Path, folder: Path) -> bool:
    """What running a submission leaves behind: its own runs, and Python's caches."""
    parts = path.relative_to(folder).parts
    return path.is_symlink() or parts[0] in ("runs", ".git") or "__pycache__" in parts


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_TEXT).decode(errors="replace")


def _script(folder: Path, files: dict[str, int]) -> tuple[list[Module], str | None]:
    if SCRIPT not in files:
        return [], f"there is no {SCRIPT}"
    try:
        return read_script(_text(folder / SCRIPT)), None
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return [], f"{SCRIPT} is no Python that can be read ({str(error)[:100]})"


def _card(folder: Path, files: dict[str, int]) -> tuple[dict[str, Any] | None, str | None]:
    if CARD not in files:
        return None, f"there is no {CARD}"
    try:
        found = json.loads(_text(folder / CARD), parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError) as error:
        return None, f"{CARD} is no JSON: {str(error)[:100]}"
    return (found, None) if isinstance(found, dict) else (None, f"{CARD} is no JSON object")
