"""golf completion: the scripts of three shells, and what they are offered."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import environment, golf
from click.shell_completion import ShellComplete

from golf.cli import golf as commands
from golf.recipe import Recipe, load_recipe

SHIPPED = {path.stem for path in (Path(__file__).parents[2] / "recipes").glob("*.toml")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "golf.toml").write_text('[workspace]\nartifacts = "runs"\n')
    (tmp_path / "mine.toml").write_text('name = "mine"\n')
    for name in ("quick", "quiet"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.toml").write_text("")
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(*arguments):
    *before, typed = arguments
    found = ShellComplete(commands, {}, "golf", "_GOLF_COMPLETE").get_completions(list(before), typed)
    return {item.value for item in found if item.type == "plain"}


def kinds(*arguments):
    *before, typed = arguments
    return {item.type for item in ShellComplete(commands, {}, "golf", "_GOLF_COMPLETE").get_completions(before, typed)}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_the_shells_own(shell, tmp_path):
    script = golf("completion", shell, cwd=tmp_path).stdout
    assert f"_GOLF_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, capture_output=True)


def test_another_shell_is_a_mistake(tmp_path):
    golf("completion", "tcsh", cwd=tmp_path, check=2)


@pytest.mark.parametrize("before", [("train",), ("recipe", "show")])
def test_recipes_are_offered(folder, before):
    assert offered(*before, "") == SHIPPED | {"mine.toml"}
    assert offered(*before, "qui") == {"quickstart"}
    assert kinds(*before, "elsewhere/") == {"file"}


@pytest.mark.parametrize(
    "before", [("pack",), ("evaluate",), ("export",), ("export", "runs/quick"), ("train", "--out")]
)
def test_runs_are_offered(folder, before):
    assert offered(*before, "") == {"quick", "quiet"}
    assert offered(*before, "runs/q") == {"runs/quick", "runs/quiet"}
    assert offered(*before, "runs/quic") == {"runs/quick"}
    assert kinds(*before, "x") == {"dir"}


@pytest.mark.parametrize("before", [("train", "--set"), ("recipe", "show", "quickstart", "--set")])
def test_keys_are_offered(folder, before):
    assert offered(*before, "train.st") == {"train.steps="}
    assert "optimizer.rank.kind=" in offered(*before, "optimizer.")
    assert {"name=", "seed="} <= offered(*before, "")


def test_every_offered_key_is_one_that_can_be_set(folder):
    keys = {value.removesuffix("=") for value in offered("train", "--set", "")}
    recipe = load_recipe(folder / "mine.toml").model_dump(mode="json")
    for key in keys:
        found = recipe
        for part in key.split("."):
            found = found[part]
        assert not isinstance(found, dict), key
    assert {key.partition(".")[0] for key in keys} == set(Recipe.model_fields)


def test_pack_is_offered_what_pack_can_change(folder):
    assert {value.partition(".")[0] for value in offered("pack", "--set", "")} == {"budget", "pack", "verify"}


@pytest.mark.parametrize("content", ["[workspace\n", "[workspace]\nartifacts = 3\n"])
def test_a_broken_workspace_prints_nothing(folder, content):
    (folder / "golf.toml").write_text(content)
    assert kinds("pack", "") == {"dir"}
    assert offered("train", "qui") == {"quickstart"}


@pytest.mark.parametrize(("words", "wanted"), [("golf train qui", "quickstart"), ("golf pack runs/quic", "runs/quick")])
def test_a_shell_is_answered_without_torch(folder, words, wanted):
    code = "import sys; sys.argv = ['golf']; from golf.cli import main\ntry: main()"
    code += "\nfinally: assert 'torch' not in sys.modules"
    asked = {"_GOLF_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment() | asked, cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"plain,{wanted}"]
    assert not done.stderr
