"""`golf recipe`: list, show and check recipes."""

from __future__ import annotations

from pathlib import Path

import click

from golf.cli import offers
from golf.cli.options import UserPath, json_option, recipe_set_option
from golf.runtime.visible import visible


@click.group(
    short_help="List, show and check recipes.",
    epilog="""Examples:

\b
  golf recipe list
  golf recipe show quickstart --set optimizer.name=muon
  golf recipe check mine.toml recipes/*.toml""",
)
def recipe() -> None:
    """List, show and check recipes, which say what is trained."""


@recipe.command(
    "list",
    short_help="List the recipes that can be named here.",
    epilog="""Examples:

\b
  golf recipe list
  golf recipe list --json | python -m json.tool""",
)
@json_option
def list_(as_json: bool) -> None:
    """List the shipped recipes and those in the workspace's folder, with caps, shapes and steps."""
    from golf.cli.terminal import show, show_json
    from golf.recipe.catalog import catalog
    from golf.run.workspace import find_workspace
    from golf.runtime.json_values import to_json

    here = Path.cwd().resolve()
    found = catalog(find_workspace(here).root)
    if as_json:
        show_json({"recipes": [to_json(each) for each in found]})
        return
    from golf.report.recipes import recipes_table

    show([recipes_table(found, here)])


@recipe.command(
    "show",
    short_help="Print a recipe with every default written out.",
    epilog="""Examples:

\b
  golf recipe show
  golf recipe show numuon-16mb --json
  golf recipe show mine.toml --set train.steps=2000 > longer.toml""",
)
@click.argument("name", required=False, shell_complete=offers.recipes)
@recipe_set_option
@json_option
def show_(name: str | None, settings: tuple[str, ...], as_json: bool) -> None:
    """Print the recipe NAME, a path or a shipped one's name (by default golf.toml's), as whole TOML."""
    from golf.cli.choose import default_recipe
    from golf.cli.terminal import show_json
    from golf.recipe import find_recipe, load_recipe, recipe_to_toml
    from golf.run.workspace import find_workspace

    source = find_recipe(name) if name else default_recipe(find_workspace(Path.cwd()))
    found = load_recipe(source, settings)
    if as_json:
        show_json(found.model_dump(mode="json"))
    else:
        click.echo(recipe_to_toml(found), nl=False)


@recipe.command(
    short_help="Tell all mistakes of recipe files.",
    epilog="""Examples:

\b
  golf recipe check mine.toml
  golf recipe check recipes/*.toml --json""",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=UserPath())
@json_option
def check(files: tuple[Path, ...], as_json: bool) -> None:
    """Read every FILE as a recipe and tell all mistakes of all of them at once; texts it names are not looked for.

    Exit code 2 if there is a mistake.
    """
    from golf.cli.terminal import show_json
    from golf.errors import RecipeError, UsageError
    from golf.recipe import find_recipe, load_recipe

    mistakes: dict[Path, list[str]] = {}
    for file in files:
        try:
            load_recipe(find_recipe(str(file)))
            mistakes[file] = []
        except RecipeError as error:
            mistakes[file] = error.mistakes
        except UsageError as error:  # a pipe or a device
            mistakes[file] = [str(error)]
    if as_json:
        show_json({"files": [{"file": str(f), "sound": not found, "mistakes": found} for f, found in mistakes.items()]})
    else:
        for file in (file for file, found in mistakes.items() if not found):
            click.echo(visible(f"{file}: sound"))
    if all_of_them := [mistake for found in mistakes.values() for mistake in found]:
        raise RecipeError(all_of_them)
