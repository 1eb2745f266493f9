"""Run: one training's folder, with its files by name, its lock, and its metrics."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from golf.errors import DamagedFile, EnvironmentFailure, RecipeError, UsageError
from golf.recipe import Recipe, load_recipe
from golf.recipe.toml import show
from golf.runtime import durable
from golf.runtime.json_values import finite

# The file that a process locks; it stays, and marks a folder as a run's.
LOCK = ".lock"


@dataclass(frozen=True)
class Run:
    """The files of one run; none needs to exist."""

    folder: Path

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.folder.name

    @property
    def recipe(self) -> Path:
        """The resolved recipe, every default written out."""
        return self.folder / "recipe.toml"

    @property
    def metrics(self) -> Path:
        """Metrics, one JSON object per line."""
        return self.folder / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "checkpoint.safetensors"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the newest."""
        return self.folder / "checkpoint.previous.safetensors"

    @property
    def artifact(self) -> Path:
        """The packed model."""
        return self.folder / "artifact.bin"

    @property
    def ledger(self) -> Path:
        """The ledger of the artifact: its bytes by part and by matrix."""
        return self.folder / "ledger.json"

    @property
    def curve(self) -> tuple[Path, Path]:
        """Bits per byte at many sizes, as JSON and as a plot."""
        return self.folder / "curve.json", self.folder / "curve.png"

    @property
    def result(self) -> Path:
        """The result of the training."""
        return self.folder / "result.json"

    @property
    def report(self) -> Path:
        """Everything about the run as one HTML page."""
        return self.folder / "report.html"

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that golf writes into a run's folder."""
        return (
            self.recipe,
            self.metrics,
            self.checkpoint,
            self.previous_checkpoint,
            self.artifact,
            self.ledger,
            *self.curve,
            self.result,
            self.report,
        )

    @property
    def earlier_packs(self) -> list[Path]:
        """Packs that later ones replaced, and their ledgers: artifact-199961.bin, ledger-199961.json."""
        return sorted([*self.folder.glob("artifact-[0-9]*.bin"), *self.folder.glob("ledger-[0-9]*.json")])

    def clear(self) -> None:
        """Remove all files that golf wrote here, and no others."""
        for path in (*self.files, *self.earlier_packs):
            path.unlink(missing_ok=True)


@contextmanager
def keeping_pack(run: Run) -> Iterator[Path]:
    """Within the block the run's pack may be replaced: it and its ledger stay under names with its size.

    Yields the pack's. Where the block fails, copies that were made for it are removed.
    """
    content = run.artifact.read_bytes()
    names = (f"artifact-{len(content)}" + (f"-{n}" if n > 1 else "") for n in count(1))
    tries = (run.folder / f"{name}.bin" for name in names)
    kept = next(path for path in tries if not path.exists() or path.read_bytes() == content)
    made = [] if kept.exists() else [kept, kept.with_name(kept.stem.replace("artifact", "ledger") + ".json")]
    for path, source in zip(made, (run.artifact, run.ledger), strict=False):
        if source.exists():
            durable.write_bytes(path, source.read_bytes())
    try:
        yield kept
    except BaseException:
        if run.artifact.read_bytes() == content:  # else the copy is the only one
            for path in made:
                path.unlink(missing_ok=True)
        raise


def recipe_differences(run: Run, recipe: Recipe) -> list[str]:
    """The keys in which the run's recorded recipe differs, sorted: `train.steps: 500 there, 600 here`.

    Empty where the folder holds no recipe. One that cannot be read counts as different, so that it is not overwritten.
    """
    if not run.recipe.exists():
        return []
    try:
        recorded = load_recipe(run.recipe)
    except RecipeError as error:
        return error.mistakes
    return differences(recorded, recipe)


def differences(recorded: Recipe, recipe: Recipe, there: str = "there", here: str = "here") -> list[str]:
    """The keys in which two recipes differ, sorted, each with both values and where they stand."""
    one, other = flat(recorded.model_dump(mode="json")), flat(recipe.model_dump(mode="json"))
    return [
        f"{key}: {show(one[key])} {there}, {show(other[key])} {here}" for key in sorted(other) if one[key] != other[key]
    ]


def is_other_run(run: Run, recipe: Recipe) -> bool:
    """Whether the folder holds a run of a different recipe."""
    return bool(recipe_differences(run, recipe))


@contextmanager
def lock(run: Run) -> Iterator[None]:
    """Lock the run's folder, made if missing, against other processes; remove temporary files of a killed one.

    A folder that was made and in which nothing was written is removed afterwards. Raises UsageError naming pid and host
    of the process that holds it. The kernel releases the lock of a process that dies, so no lock has to be removed by
    hand.
    """
    with durable.none_if_empty(run.folder):
        yield from _locked(run, made=not run.folder.exists())


def _locked(run: Run, *, made: bool) -> Iterator[None]:
    owner = run.folder / ".lock.owner"
    held = FileLock(run.folder / LOCK, timeout=0)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except Timeout:
        raise UsageError(
            f"{from_here(run.folder)} is in use by {_name_owner(owner)}; wait for it, or stop it"
        ) from None
    except (OSError, NotImplementedError) as error:
        raise EnvironmentFailure(f"cannot lock {run.folder}: {getattr(error, 'strerror', None) or error}") from error
    try:
        durable.write_text(owner, json.dumps({"pid": os.getpid(), "host": platform.node()}))
        durable.sweep(run.folder)
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
            if made and [path.name for path in run.folder.iterdir()] == [LOCK]:
                # still locked: a process that has it open sees that it was removed, and gives up
                (run.folder / LOCK).unlink()
        held.release()


def append_metrics(path: Path, record: dict[str, Any]) -> None:
    """Append one line of JSON; numbers that are not finite become null.

    A half-written last line of an earlier process is removed first. Raises EnvironmentFailure if the disk refuses.
    """
    line = json.dumps(finite(record), allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            _cut_half_line(file)
            file.write(line)
    except OSError as error:
        raise EnvironmentFailure(f"cannot write {path}: {error.strerror}") from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Parse every whole line; a half-written last one is left out, and without a file there are none.

    Raises DamagedFile naming the line that is no JSON object.
    """
    return [record for _, record in _lines(path)]


def truncate_metrics(path: Path, step: int) -> None:
    """Durably drop the lines whose `step` is greater than `step`, and a half-written last one; others stay as they are.

    A resumed run repeats those steps. Raises as `read_metrics` and `golf.runtime.durable.replace` do.
    """
    kept = b"".join(line + b"\n" for line, record in _lines(path) if record.get("step", step) <= step)
    if path.exists() and kept != path.read_bytes():
        durable.write_bytes(path, kept)


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    try:
        *whole, _half = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {path}: {error.strerror}") from error
    for number, line in enumerate(whole, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("step", 0), (int, float)):
            raise DamagedFile(str(path), f"line {number} is no JSON object with a numeric step; remove the line")
        yield line, record


def _cut_half_line(file: BinaryIO) -> None:
    if file.seek(0, os.SEEK_END) == 0:
        return
    file.seek(-1, os.SEEK_END)
    if file.read() != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _name_owner(owner: Path) -> str:
    try:
        record = json.loads(owner.read_bytes())
        pid, host = int(record["pid"]), str(record["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
    if host == platform.node() and not durable.is_alive(pid):
        return "another process"  # the holder has not written its pid yet; this one is of a killed process
    return f"process {pid} on {host}"


def from_here(path: Path) -> Path:
    """`path` relative to the working folder where it lies below it, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
