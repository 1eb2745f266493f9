"""The documents are checked like code."""

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement  # pytest's own dependency

from golf.cli.reference import commands, reference
from golf.errors import RecipeError
from golf.recipe import Recipe, find_recipe, load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_command_reference_is_the_commands_help():
    """Write it anew with: python -m golf.cli.reference > docs/cli.md"""
    assert (ROOT / "docs" / "cli.md").read_text() == reference()


COMMANDS = dict(commands())
# Pages that name every command by themselves, and what changed.
GENERATED = ("cli.md", "log.md", "architecture.md")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_tells_what_every_command_is_for_and_it_ends_with_examples(name):
    pages = [README, *(path.read_text() for path in (ROOT / "docs").glob("*.md") if path.name not in GENERATED)]
    assert any(name in page for page in pages)
    assert "Examples:" in COMMANDS[name].epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_explains_itself(name):
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.show_default, parameter.name


def test_every_module_is_in_the_tree_of_the_architecture():
    """One line each, below its room, and no line of a module that is gone."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree, room = [], ROOT
    for line in text[text.index("## The tree") : text.index("## Laws")].splitlines():
        if found := re.match(r"    (golf/[\w/]*)(?: |$)", line):
            room = ROOT / found[1]
        elif found := re.match(r"      (\w+\.py) +\S", line):
            tree.append(room / found[1])
    modules = [path for path in (ROOT / "golf").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert sorted(tree) == sorted(modules)


PLACES = ("*.md", "docs/*.md", "bench/*.md", "experiments/**/*.md")


@pytest.mark.parametrize(
    "path", sorted(path for place in PLACES for path in ROOT.glob(place)), ids=lambda p: str(p.relative_to(ROOT))
)
def test_what_a_document_links_to_is_there(path):
    links = re.findall(r"\]\(([^)#]+)", path.read_text())
    for target in links:
        if "://" not in target:
            assert (path.parent / target).exists(), target


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_what_a_package_index_shows_has_no_link_into_the_repository():
    """It renders the description away from the files that stand beside it in the repository."""
    shown = (ROOT / PROJECT["project"]["readme"]).read_text()
    assert all("://" in target for target in re.findall(r"\]\(([^)]+)", shown))
    assert all(f"golf {name}" in shown for name in ("train", "pack", "verify"))


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_what_a_document_links_to_is_in_the_source_distribution(path):
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).resolve().relative_to(ROOT.resolve()).parts[0] in included, target


def test_every_key_of_a_recipe_is_in_the_reference_of_recipes():
    text = (ROOT / "docs" / "recipe.md").read_text()
    todo = list(Recipe.model_fields.items())
    while todo:
        key, field = todo.pop()
        if nested := getattr(field.annotation, "model_fields", None):
            todo += nested.items()
        else:
            assert f"`{key}` | " in text, key
            assert field.description, key


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_recipe_loads_and_is_found_by_name(path):
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert find_recipe(path.stem).resolve() == path


def test_the_twins_differ_in_the_optimizer_alone():
    baseline, numuon = (load_recipe(ROOT / "recipes" / f"{name}-16mb.toml") for name in ("baseline", "numuon"))
    ours = numuon.model_dump(exclude={"name", "optimizer"})
    assert ours == baseline.model_dump(exclude={"name", "optimizer"})


def test_an_unknown_recipe_is_named_with_the_known_ones():
    with pytest.raises(RecipeError, match="quickstart"):
        find_recipe("quickstrat")


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target


def test_help_needs_neither_torch_nor_anything_else_that_is_slow():
    code = (
        "import sys; sys.argv = ['golf', '--help']; from golf.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    code += "assert not {'torch', 'numpy', 'pydantic', 'rich', 'zstandard'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_versions_that_golf_is_tested_with_are_allowed():
    """The lower bounds themselves are held by: make test-lowest"""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = PROJECT["project"]["optional-dependencies"].values()
    for requirement in map(Requirement, [*PROJECT["project"]["dependencies"], *chain(*extras)]):
        if requirement.name in pinned:
            assert requirement.specifier.contains(pinned[requirement.name]), requirement


def test_the_readme_is_of_one_screen():
    lines = README.splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
