"""Find and read golf.toml, which says WHERE data and runs lie; the recipe says what is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import platformdirs
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from golf.recipe.load import read_limited
from golf.recipe.toml import read_toml
from golf.recipe.validate import validate

FILE = "golf.toml"


def _expanded(place: str) -> str:
    if not place or "\0" in place:
        raise ValueError("must be a path, without zero bytes")
    try:
        return str(Path(place).expanduser())
    except RuntimeError:
        raise ValueError(f"{place.partition('/')[0]} is no user of this machine") from None


Place = Annotated[str, AfterValidator(_expanded)]


class Places(BaseModel):
    """`[workspace]`: paths are relative to the folder of golf.toml; absolute ones and `~` are allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    data: Place = Field(".golf/data", description="cache of tokens and tokenizers")
    artifacts: Place = Field("artifacts", description="one folder a run")
    recipe: Place = Field("quickstart", description="what is trained when no recipe is named: a path, or a name")


class WorkspaceFile(BaseModel):
    """The whole of golf.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    workspace: Places = Places()


@dataclass(frozen=True)
class Workspace:
    """Folders of data and runs, and the default recipe; all paths are absolute, and none needs to exist."""

    root: Path
    data: Path
    artifacts: Path
    recipe: str
    """A path or a name, for `golf.recipe.find_recipe`."""


def find_workspace(start: Path) -> Workspace:
    """Read the golf.toml of `start` or of its nearest parent that has one; RecipeError with every mistake in it.

    The search ends at the home folder and at the root of a file system. Without any golf.toml, data goes to the user's
    cache folder, artifacts go to `start`, and the recipe is the shipped quickstart.
    """
    start = start.resolve()
    file = _nearest(start)
    if file is None:
        return Workspace(start, platformdirs.user_cache_path("golf"), start / "artifacts", "quickstart")
    root, source = file.parent, FILE if file.parent == start else str(file)
    places = validate(WorkspaceFile, read_toml(read_limited(file), source=source), source=source).workspace
    return Workspace(root, root / places.data, root / places.artifacts, _recipe(root, places.recipe))


def _nearest(start: Path) -> Path | None:
    try:
        home = Path.home().resolve()
        device = start.stat().st_dev
        for folder in (start, *start.parents):
            if folder.stat().st_dev != device:
                return None
            if (folder / FILE).is_file():
                return folder / FILE
            if folder == home:
                return None
    except (OSError, RuntimeError):  # a folder that is gone or closed to us, a user without a home
        return None
    return None


def _recipe(root: Path, place: str) -> str:
    """The path of a file under `root`, or, where there is no such file, the name of a shipped recipe."""
    path = root / place
    return str(path) if path.suffix == ".toml" or path.is_file() else place
