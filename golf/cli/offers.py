"""What the shell offers where a recipe, a run or a key of --set is typed.

Called at every press of Tab: nothing here imports torch, and no mistake in golf.toml may print over the user's line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from golf.errors import GolfError

if TYPE_CHECKING:
    import click
    from pydantic import BaseModel

Offer = CompletionItem[str]


def recipes(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[Offer]:
    """Names of shipped recipes and of the working folder's recipes/, and its .toml files; else any file."""

    def found() -> Iterator[str]:
        from golf.runtime.shipped import shipped_recipes

        for folder in (Path("recipes"), shipped_recipes()):
            yield from (path.stem for path in folder.glob("*.toml"))
        yield from (path.name for path in Path().glob("*.toml") if path.name not in ("golf.toml", "pyproject.toml"))

    return _offers(found, typed, otherwise="file")


def runs(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[Offer]:
    """Names of the workspace's runs, or their folders where one is begun; else any folder."""

    def found() -> Iterator[str]:
        from golf.run.folder import Run, from_here
        from golf.run.workspace import find_workspace

        for folder in find_workspace(Path.cwd()).artifacts.glob("*/"):
            if any(file.exists() for file in Run(folder).files):
                yield folder.name
                if typed.startswith(str(from_here(folder.parent))):
                    yield str(from_here(folder))

    return _offers(found, typed, otherwise="dir")


def recipe_keys(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[Offer]:
    """`section.key=` for every key of a recipe."""
    return _keys(typed, ())


def pack_keys(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[Offer]:
    """`section.key=` for the keys that golf pack may change."""
    return _keys(typed, ("budget", "pack", "verify"))


def _keys(typed: str, sections: tuple[str, ...]) -> list[Offer]:
    from golf.recipe import Recipe

    return [
        CompletionItem(f"{address}=", help=meaning)
        for address, meaning in _addresses(Recipe, "")
        if address.startswith(typed) and (not sections or address.partition(".")[0] in sections)
    ]


def _addresses(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """The address and the meaning of every key of a section and of those in it."""
    for key, field in section.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and hasattr(nested, "model_fields"):
            yield from _addresses(nested, f"{prefix}{key}.")
        else:
            yield prefix + key, field.description or ""


def _offers(found: Callable[[], Iterator[str]], typed: str, *, otherwise: str) -> list[Offer]:
    """Those of `found` that begin with what was typed; where there is none, the shell completes paths itself."""
    try:
        names = sorted({name for name in found() if name.startswith(typed)})
    except (GolfError, OSError):
        names = []
    return [CompletionItem(name) for name in names] or [CompletionItem(typed, type=otherwise)]
