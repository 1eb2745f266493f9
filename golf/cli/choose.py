"""The run, artifact or model that a command's argument names; where it was not named outright, one line says which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from golf.errors import UsageError

if TYPE_CHECKING:
    from golf.run.folder import Run
    from golf.run.workspace import Workspace


def artifacts() -> Path:
    """The folder of runs of the workspace around the working folder."""
    from golf.run.workspace import find_workspace

    return find_workspace(Path.cwd()).artifacts


def chosen_run(given: Path | None, *, having: str = "checkpoint.safetensors") -> Run:
    """The run of a name, a folder or one of its files; the newest one where nothing is given."""
    from golf.run.find import find_run

    found = find_run(given, artifacts(), having=having)
    _say(given, found.folder)
    return found


def chosen_artifact(given: Path | None) -> Path:
    """The artifact of a file, a run's name or folder; the newest run's where nothing, or a file's bare name, is given.

    Raises UsageError where there is no file, DamagedFile where it is no artifact: both before torch is imported.
    """
    from golf.artifact import check_start
    from golf.run.find import find_artifact

    found = find_artifact(given, artifacts())
    _say(given, found)
    check_start(found)
    return found


def chosen_model(given: Path | None) -> Path:
    """An artifact, a checkpoint's file or a run's folder; the newest run's artifact where nothing is given."""
    from golf.run.find import find_model

    found = find_model(given, artifacts())
    _say(given, found)
    if not found.exists():
        raise UsageError(f"{found} does not exist; name an artifact, a checkpoint, or a run")
    return found if found.is_dir() or found.suffix == ".safetensors" else chosen_artifact(found)


def _say(given: Path | None, found: Path) -> None:
    """Say which file or folder is meant, where the newest run's was taken."""
    from golf.cli.terminal import note

    if given is None or (given != found and given.name == found.name and given.suffix):
        note(f"{found}, of the newest run" if found.suffix else f"{found}, the newest run")


def default_recipe(workspace: Workspace) -> Path:
    """The recipe that golf.toml names, or quickstart; an error says whose word it was."""
    from golf.errors import RecipeError
    from golf.recipe import find_recipe

    try:
        return find_recipe(workspace.recipe)
    except RecipeError as error:
        place = workspace.root / "golf.toml"
        raise RecipeError([f"{place}: workspace.recipe = {mistake}" for mistake in error.mistakes]) from None
