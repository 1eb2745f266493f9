"""Recipe files: find by name, read, override with --set, validate, and write back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from golf.errors import RecipeError
from golf.recipe.sections import Recipe
from golf.recipe.toml import MAX_BYTES, MAX_DEPTH, printable, read_toml, read_value, show, write_toml
from golf.recipe.validate import Address, validate
from golf.runtime.regular import regular, user_path
from golf.runtime.shipped import shipped_recipes


def find_recipe(name: str) -> Path:
    """The file of the recipe `name`: a path, else NAME.toml here or in `recipes/`, else a shipped one.

    A folder of that name is ignored. Raises RecipeError with a suggestion if there is none.
    """
    shipped = shipped_recipes()
    file = f"{name.removesuffix('.toml')}.toml"
    for candidate in (user_path(name), Path(file), Path("recipes") / file, shipped / file):
        if _can_be_read(candidate):
            return candidate
    raise RecipeError([f"{show(name)}: no such recipe{_suggest_recipe(name, shipped)}"])


def load_recipe(path: Path, settings: Iterable[str] = ()) -> Recipe:
    """Read and validate a recipe file; `settings` (section.key=value) override its keys."""
    return parse_recipe(read_limited(path), source=str(path), settings=settings)


def read_limited(path: Path) -> bytes:
    """Read a recipe or workspace file, at most one byte over the limit; RecipeError if that fails."""
    try:
        with regular(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise RecipeError([f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"]) from error


def parse_recipe(content: bytes, *, source: str, settings: Iterable[str] = ()) -> Recipe:
    """Parse and validate the TOML in `content`; addresses of mistakes begin with `source`, or with the setting."""
    return _validated(read_toml(content, source=source), source=source, settings=settings)


def change_recipe(recipe: Recipe, settings: Iterable[str], *, sections: Collection[str], source: str) -> Recipe:
    """Override keys of a recipe by `section.key=value` settings; raises RecipeError also for other `sections`."""
    settings = tuple(settings)
    allowed = ", ".join(f"[{section}]" for section in sections)
    if misplaced := [s for s in settings if s.partition(".")[0].strip() not in sections]:
        raise RecipeError([f"--set {printable(s)}: only {allowed} can change now" for s in misplaced])
    return _validated(recipe.model_dump(mode="json", exclude_none=True), source=source, settings=settings)


def _validated(document: dict[str, Any], *, source: str, settings: Iterable[str]) -> Recipe:
    """Override keys of a document by settings, and report all mistakes of both at once."""
    origins: dict[Address, str] = {}
    mistakes = [mistake for setting in settings if (mistake := _lay_over(document, setting, origins))]
    try:
        recipe = validate(Recipe, document, source=source, settings=origins)
    except RecipeError as error:
        raise RecipeError(mistakes + error.mistakes) from None
    if mistakes:
        raise RecipeError(mistakes)
    return recipe


def recipe_from_dict(document: Mapping[str, Any], *, source: str) -> Recipe:
    """Validate a plain dictionary (parsed TOML, or a manifest's recipe)."""
    return validate(Recipe, document, source=source)


def recipe_to_toml(recipe: Recipe) -> str:
    """Write the whole resolved recipe as TOML; `parse_recipe` of it gives an equal recipe."""
    return write_toml(recipe.model_dump(mode="json", exclude_none=True))


def _lay_over(document: dict[str, Any], setting: str, origins: dict[Address, str]) -> str | None:
    """Apply one `a.b=value` in place and record its origin; return the mistake, if it is one."""
    address, equals, value = setting.partition("=")
    keys = tuple(key.strip() for key in address.split("."))
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        return f"--set {printable(setting)}: write it as section.key=value"
    table = document
    for depth, key in enumerate(keys[:-1], 1):
        if key not in table:
            table[key] = {}
            origins[keys[:depth]] = setting
        table = table[key]
        if not isinstance(table, dict):
            return f"--set {printable(setting)}: {printable(key)} is a value, not a section"
    table[keys[-1]] = read_value(value)
    origins[keys] = setting
    return None


def _can_be_read(path: Path) -> bool:
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero byte
        return False


def _suggest_recipe(name: str, shipped: Path) -> str:
    import difflib  # 12 ms that only a mistake has to pay for

    known = sorted(path.stem for path in shipped.glob("*.toml"))
    close = difflib.get_close_matches(name[:100], known, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; shipped recipes: {', '.join(known)}" if known else ""
