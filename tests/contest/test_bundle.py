"""One script from golf's modules: it stands alone, and its bytes follow from the recipe."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from golf.contest.bundle import ENTRY, PACKAGES, modules, script
from golf.contest.rules.source import read_script
from golf.recipe import load_recipe

ROOT = Path(__file__).parents[2]
RECIPE = load_recipe(ROOT / "recipes" / "smoke.toml")


def test_a_script_holds_what_it_needs_and_no_terminal():
    held = modules(ENTRY)
    assert {
        "golf",
        "golf.training.train",
        "golf.packing.pack",
        "golf.evaluation.verify",
        "golf.optim.numuon",
    } <= held.keys()
    assert not any(
        name.startswith(("golf.cli", "golf.report", "golf.contest.export", "golf.contest.rules")) for name in held
    )


@pytest.mark.parametrize("name", sorted(modules(ENTRY)))
def test_a_module_imports_only_what_is_declared(name):
    """At the top; what is imported within functions says itself what it needs."""
    allowed = set(sys.stdlib_module_names) | set(PACKAGES) | {"golf"}
    for node in ast.parse(modules(ENTRY)[name]).body:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {each.partition(".")[0] for each in names} <= allowed


@pytest.mark.parametrize("plain", [True, False])
def test_the_same_recipe_gives_the_same_bytes_whatever_code_was_counted(plain):
    other = RECIPE.model_copy(update={"budget": RECIPE.budget.model_copy(update={"code_bytes": 1234})})
    assert script(RECIPE, plain=plain) == script(other, plain=plain)


def test_a_plain_script_reads_as_the_modules_do():
    text = script(RECIPE, plain=True).decode()
    found = {module.name: module.text for module in read_script(text)}
    for name, source in modules(ENTRY).items():
        if len(source) > 400:
            assert found[name] == source


def test_the_compressed_script_is_a_quarter_and_lays_open_for_readers():
    plain, compressed = script(RECIPE, plain=True), script(RECIPE)
    assert len(compressed) < len(plain) / 4
    names = [module.name for module in read_script(compressed.decode())]
    assert "golf.packing.pack" in names


def test_a_traceback_of_the_compressed_script_is_readable(tmp_path):
    (tmp_path / "train_gpt.py").write_bytes(script(RECIPE).replace(b'S="', b'S="!!'))
    done = subprocess.run([sys.executable, tmp_path / "train_gpt.py"], capture_output=True, text=True)
    assert done.returncode and len(done.stderr) < 2000
