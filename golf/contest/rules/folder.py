"""Read a submission's folder within limits, since it is untrusted."""

from __future__ import annotations

import codecs
import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golf.contest.bundle import SCRIPT
from golf.contest.rules.source import Module, read_script
from golf.errors import EnvironmentFailure, UsageError
from golf.run.log_lines import LogFacts, parse_log

CARD, README = "submission.json", "README.md"
# Logs of the contest have some hundred kilobytes.
_MAX_TEXT = 16 << 20
_MAX_FILES = 10_000
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
    ".whl",
    ".zip",
    ".tar",
    ".gz",
)
_MODELS = (".bin", ".ptz", ".pt", ".pth", ".safetensors", ".xz", ".zst", ".npz", ".br")
_LOGS = (".log", ".txt")
# Files that describe a submission; they are never code or model.
_FREE = (README, CARD, "requirements.txt", "LICENSE", ".gitignore")
# Files and folders that running a submission creates.
_LEFT = ("runs", ".git", "__pycache__")


@dataclass(frozen=True)
class Submission:
    """The content of a folder; `modules` are the script's Python sources, unpacked where it is self-extracting."""

    folder: Path
    files: dict[str, int]
    """Bytes by path, sorted."""
    left: dict[str, int]
    """Bytes of ignored files, which a run or Python created, by folder."""
    modules: list[Module]
    script_error: str | None
    card: dict[str, Any] | None
    card_error: str | None
    logs: dict[str, LogFacts]
    """Facts of every log, also of one without known lines."""
    unreadable: dict[str, str]
    """Files named as logs that are no text, with the reason."""

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
        """Bytes of files that are neither code nor model, log or description; a log without known lines is no log."""
        known = {*self.code, *self.models, *_FREE}
        said = {name for name, facts in self.logs.items() if facts.known}
        return {name: size for name, size in self.files.items() if name not in known | said}


def read_submission(folder: Path) -> Submission:
    """Read the folder; raises UsageError where there is none, EnvironmentFailure where it cannot be read."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make one with: golf export --out {folder}")
    try:
        files, left = _files(folder)
        logs, unreadable = _logs(folder, files)
        modules, script_error = _script(folder, files)
        card, card_error = _card(folder, files)
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {error.filename or folder}: {error.strerror or error}") from error
    return Submission(folder, files, left, modules, script_error, card, card_error, logs, unreadable)


def _files(folder: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of plain files by path, and of ignored files by their folder."""
    files: dict[str, int] = {}
    left: dict[str, int] = {}
    for count, (place, folders, names) in enumerate(os.walk(folder)):
        folders.sort()
        if count + len(files) + len(names) > _MAX_FILES:
            raise UsageError(f"{folder} holds more than {_MAX_FILES:,} files; a submission has ten")
        for name in sorted(names):
            path = Path(place) / name
            facts = path.lstat()
            if stat.S_ISREG(facts.st_mode):
                inside = path.relative_to(folder)
                leftover = next((part for part in inside.parts[:-1] if part in _LEFT), None)
                if leftover is None:
                    files[inside.as_posix()] = facts.st_size
                else:
                    left[leftover] = left.get(leftover, 0) + facts.st_size
    return dict(sorted(files.items())), left


def _logs(folder: Path, files: dict[str, int]) -> tuple[dict[str, LogFacts], dict[str, str]]:
    """Facts of logs by name, and reasons why others are no text."""
    logs: dict[str, LogFacts] = {}
    unreadable: dict[str, str] = {}
    for name in files:
        if name.endswith(_LOGS) and name != "requirements.txt":
            content = _content(folder / name)
            # PowerShell redirects output as UTF-16
            encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
            logs[name] = parse_log(content.decode(encoding, errors="replace"))
            # one invalid byte in an otherwise readable log is no reason to reject it
            if not logs[name].known and (reason := _not_text(content, encoding)) is not None:
                unreadable[name] = reason
    return logs, unreadable


def _not_text(content: bytes, encoding: str) -> str | None:
    """Why `content`, which may be cut in the middle of a character, is no text."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(content, False)
    except UnicodeDecodeError as error:
        return f"is no text: byte {error.start} is not {'UTF-16' if encoding == 'utf-16' else 'UTF-8'}"
    return f"is no text: it holds a zero byte at {text.index(chr(0))}" if "\0" in text else None


def _text(path: Path) -> str:
    return _content(path).decode("utf-8-sig", errors="replace")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_TEXT)


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
