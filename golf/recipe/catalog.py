"""The recipes that can be named here: the shipped ones, and those of a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from golf.errors import RecipeError, UsageError
from golf.recipe.load import parse_recipe, read_limited
from golf.recipe.toml import read_toml
from golf.runtime.shipped import shipped_recipes

_WORKSPACE = "golf.toml"


@dataclass(frozen=True)
class Listed:
    """A recipe file; `cap`, `layers`, `width` and `steps` are None where the file has mistakes."""

    name: str
    """What `golf train` takes: the name of a shipped recipe, else the path."""
    file: Path
    shipped: bool
    description: str
    """The first sentence of the comment that the file begins with."""
    mistakes: list[str]
    cap: int | None = None
    layers: int | None = None
    width: int | None = None
    steps: int | None = None


def catalog(root: Path) -> list[Listed]:
    """The shipped recipes by name, then the .toml files of `root` and of its `recipes/` that are recipes."""
    shipped = sorted(shipped_recipes().glob("*.toml"))
    known = {path.resolve() for path in shipped}
    own = [path for folder in (root, root / "recipes") for path in sorted(folder.glob("*.toml"))]
    found = [_listed(path, shipped=True) for path in shipped]
    found += [_listed(path, shipped=False) for path in own if path.resolve() not in known]
    return [each for each in found if each is not None]


def _listed(path: Path, *, shipped: bool) -> Listed | None:
    """The entry of a file; None for one that is no recipe, such as golf.toml or pyproject.toml."""
    if path.name == _WORKSPACE or path.is_dir():
        return None
    name = path.stem if shipped else str(path)
    try:
        content = read_limited(path)
        if "name" not in read_toml(content, source=str(path)):  # the one key that every recipe has
            return None
        described = description(content.decode(errors="replace"))
        recipe = parse_recipe(content, source=str(path))
    except RecipeError as error:
        return Listed(name, path, shipped, "", error.mistakes)
    except UsageError:  # a pipe or a device
        return None
    shape = recipe.model
    return Listed(name, path, shipped, described, [], recipe.budget.cap, shape.layers, shape.width, recipe.train.steps)


def description(text: str) -> str:
    """The first sentence of the comment that a recipe begins with; empty without one."""
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("#").strip())
    sentence, end, _ = " ".join(comment).partition(". ")
    return sentence + end.strip()
