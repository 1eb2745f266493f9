"""Find a run, or a file in one, by what a user types: its name, its folder, one of its files, or nothing."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from golf.artifact import check_start
from golf.errors import EnvironmentFailure, GolfError, UsageError
from golf.recipe import load_recipe
from golf.run.folder import LOCK, Run, from_here
from golf.runtime.regular import regular

CHECKPOINT, ARTIFACT = "checkpoint.safetensors", "artifact.bin"
# For a missing file: what it is, and the command that makes it.
_NEXT_COMMAND = {CHECKPOINT: ("run", "start one with: golf train"), ARTIFACT: ("artifact", "make one with: golf pack")}


def runs_in(artifacts: Path) -> list[Run]:
    """The runs in a workspace's folder of runs, by name; raises EnvironmentFailure where it cannot be read."""
    try:
        return [Run(folder) for folder in sorted(artifacts.glob("*/")) if is_run(folder)]
    except OSError as error:
        raise EnvironmentFailure(f"cannot read {artifacts}: {error.strerror}") from error


def is_run(folder: Path) -> bool:
    """Whether golf wrote a run, or a pack of one, into `folder`."""
    run = Run(folder)
    if run.checkpoint.is_file() or run.previous_checkpoint.is_file() or _is_artifact(run.artifact):
        return True
    # a training that was not saved yet, or a copy without weights; not files that happen to have such names
    return (run.metrics.is_file() or (folder / LOCK).is_file()) and _is_recipe(run.recipe)


def _is_recipe(path: Path) -> bool:
    try:
        load_recipe(path)
    except GolfError:
        return False
    return True


def _is_artifact(path: Path) -> bool:
    try:
        check_start(path)
    except GolfError:
        return False
    return True


def newest_run(artifacts: Path, having: str = CHECKPOINT) -> Run:
    """The run that was trained last, or whose file `having` was written last, whichever is later.

    Raises UsageError, with the command to run, where there is none, or where the newest lacks that file.
    """
    dated = [(_written(run, having), run.folder) for run in runs_in(artifacts)]
    found = [(when, folder) for when, folder in dated if when]
    if having not in _NEXT_COMMAND:  # a name that --out gave
        found = [(when, folder) for when, folder in found if (folder / having).is_file()]
        if not found:
            raise UsageError(f"{having} is neither here nor in a run in {from_here(artifacts)}/; check the name")
    if not any((folder / having).is_file() for _, folder in found):
        thing, command = _NEXT_COMMAND[having]
        raise UsageError(f"no {thing} in {from_here(artifacts)}/; {command}")
    newest = Run(max(found)[1])
    if not (newest.folder / having).is_file():
        raise UsageError(
            f"the newest run, {from_here(newest.folder)}, has no {having}; make it with: golf pack {newest.name}; or "
            f"name another run"
        )
    return newest


def _written(run: Run, having: str) -> int:
    """When the run's checkpoint or its file `having` was written, nanoseconds; 0 where it has neither."""
    files = [path for path in (run.checkpoint, run.folder / having) if path.is_file()]
    return max((path.stat().st_mtime_ns for path in files), default=0)


def find_run(given: Path | None, artifacts: Path, *, having: str = CHECKPOINT) -> Run:
    """The run that `given` names: its folder, its name, or one of its files; without it the newest run.

    Raises UsageError for anything else.
    """
    if given is None:
        return Run(from_here(newest_run(artifacts, having).folder))
    named = artifacts / given
    if _is_name(given) and not is_run(given) and is_run(named):
        return Run(from_here(named))
    if regular(given).is_dir():
        return _sound(Run(from_here(given)))
    if given.is_file():
        run = Run(from_here(given.parent))
        if given.name in [file.name for file in run.files] and is_run(run.folder):
            return run
        raise UsageError(f"{given} is no run but a file; name the folder of a run, or its name")
    if _is_name(given) and named.is_dir():
        return _sound(Run(from_here(named)))
    raise UsageError(f"{given} is no folder and no run{_suggestion(given, artifacts)}")


def _sound(run: Run) -> Run:
    if not is_run(run.folder):
        raise UsageError(f"{run.folder} is no run of golf; make one with: golf train --out FOLDER")
    return run


def find_artifact(given: Path | None, artifacts: Path) -> Path:
    """The artifact that `given` names: a file, a run's name or folder, or a file's name in the newest run.

    Without it the newest run's. A path that does not exist comes back as it is. Raises UsageError for a run without
    an artifact.
    """
    if given is None:
        return from_here(newest_run(artifacts, ARTIFACT).artifact)
    if regular(given).is_file() or not (given.is_dir() or _is_name(given)):
        return given
    if given.is_dir() or (artifacts / given).is_dir():
        run = find_run(given, artifacts)
        if not run.artifact.is_file():
            raise UsageError(f"{run.folder} has no {ARTIFACT}; make it with: golf pack {given}")
        return run.artifact
    return from_here(newest_run(artifacts, having=given.name).folder / given.name)


def find_model(given: Path | None, artifacts: Path) -> Path:
    """What `golf evaluate` measures: an artifact or a checkpoint's file, or a run's folder, by its name too."""
    if given is not None:
        if regular(given).exists() or not _is_name(given):
            return given
        run = artifacts / given
        return from_here(run) if run.is_dir() else find_artifact(given, artifacts)
    newest = newest_run(artifacts)
    return from_here(newest.artifact if newest.artifact.is_file() else newest.folder)


def interrupted_run(artifacts: Path) -> Run | None:
    """The newest run whose training has not ended: it has a checkpoint and metrics, and no result yet."""
    open_ = [r for r in runs_in(artifacts) if r.checkpoint.is_file() and r.metrics.is_file() and not r.result.exists()]
    return max(open_, key=lambda run: _written(run, CHECKPOINT), default=None)


def _is_name(path: Path) -> bool:
    return len(path.parts) == 1 and path.name not in ("", "..")


def _suggestion(given: Path, artifacts: Path) -> str:
    """How a message about an unknown run goes on."""
    names = [run.name for run in runs_in(artifacts)]
    if close := get_close_matches(given.name, names, n=1):
        return f"; did you mean {close[0]}?"
    listed = f"; runs in {from_here(artifacts)}/: {', '.join(names[:8])}" if names else ""
    return f"{listed or '; start one with: golf train'}"
