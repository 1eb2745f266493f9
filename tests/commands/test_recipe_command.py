"""golf recipe: what can be named is listed, shown in full, and checked."""

import os
from pathlib import Path

import pytest
from cli import golf, golf_json

from golf.recipe import load_recipe, parse_recipe
from golf.recipe.catalog import description

SHIPPED = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "golf.toml").write_text('[workspace]\nrecipe = "mine.toml"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    (tmp_path / "mine.toml").write_text(
        '# Essays in little. More here.\nname = "mine"\n[budget]\ncap = "60kB"\n[model]\nlayers = 3\n'
    )
    (tmp_path / "wrong.toml").write_text('name = "wrong"\n[model]\nlayers = 0\nwidht = 3\n')
    return tmp_path


def listed(folder):
    return {each["name"]: each for each in golf_json("recipe", "list", cwd=folder)["recipes"]}


def test_every_shipped_recipe_is_listed_with_its_figures(folder):
    found = listed(folder)
    assert {name for name, each in found.items() if each["shipped"]} == {path.stem for path in SHIPPED.glob("*.toml")}
    for path in SHIPPED.glob("*.toml"):
        recipe, row = load_recipe(path), found[path.stem]
        figures = (recipe.budget.cap, recipe.model.layers, recipe.model.width, recipe.train.steps)
        assert (row["cap"], row["layers"], row["width"], row["steps"]) == figures
        assert row["description"] and not row["mistakes"]


def test_the_folders_own_recipes_are_listed_and_other_files_are_not(folder):
    (folder / "recipes").mkdir()
    (folder / "recipes" / "more.toml").write_text('name = "more"\n')
    own = {Path(each["file"]).name: each for each in listed(folder).values() if not each["shipped"]}
    assert set(own) == {"mine.toml", "wrong.toml", "more.toml"}
    assert own["mine.toml"]["description"] == "Essays in little."
    assert own["mine.toml"]["cap"] == 60_000
    assert len(own["wrong.toml"]["mistakes"]) == 2 and own["wrong.toml"]["cap"] is None


def test_the_list_says_what_to_type(folder):
    shown = golf("recipe", "list", cwd=folder).stdout
    assert "quickstart" in shown and "golf recipe check wrong.toml" in " ".join(shown.split())
    (folder / "deep").mkdir()
    assert "mine.toml" in golf("recipe", "list", cwd=folder / "deep").stdout


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name = ", b"name = 3", b"", b"[[[["])
def test_no_file_breaks_the_list(folder, content):
    (folder / "mine.toml").write_bytes(content)
    assert "quickstart" in listed(folder)


def test_a_folder_or_a_pipe_of_that_name_breaks_nothing(folder):
    (folder / "folder.toml").mkdir()
    os.mkfifo(folder / "pipe.toml")
    assert "quickstart" in listed(folder)


def test_show_writes_every_key_and_reads_back(folder):
    shown = golf("recipe", "show", "mine.toml", "--set", "train.steps=7", cwd=folder).stdout
    recipe = load_recipe(folder / "mine.toml", ["train.steps=7"])
    assert parse_recipe(shown.encode(), source="") == recipe
    assert "batch_tokens = " in shown
    assert golf_json("recipe", "show", "mine.toml", cwd=folder)["train"]["steps"] == 500


def test_show_takes_the_workspaces_recipe_and_shipped_names(folder):
    assert 'name = "mine"' in golf("recipe", "show", cwd=folder).stdout
    assert 'name = "smoke"' in golf("recipe", "show", "smoke", cwd=folder).stdout
    golf("recipe", "show", "smok", cwd=folder, check=2)
    golf("recipe", "show", "smoke", "--set", "train.steps=x", cwd=folder, check=2)


def test_check_tells_all_mistakes_of_all_files(folder):
    (folder / "broken.toml").write_text("name =")
    done = golf("recipe", "check", "mine.toml", "wrong.toml", "broken.toml", "nowhere.toml", cwd=folder, check=2)
    assert done.stdout == "mine.toml: sound\n"
    for named in ("wrong.toml: model.layers", "wrong.toml: model.widht", "broken.toml: ", "nowhere.toml"):
        assert named in done.stderr
    found = golf_json("recipe", "check", "mine.toml", "wrong.toml", cwd=folder, check=2)["files"]
    assert [(each["file"], each["sound"], len(each["mistakes"])) for each in found] == [
        ("mine.toml", True, 0),
        ("wrong.toml", False, 2),
    ]


def test_check_of_sound_files_ends_well(folder):
    assert golf("recipe", "check", *SHIPPED.glob("*.toml"), cwd=folder).stdout.count(": sound\n") >= 7


def test_check_waits_for_no_pipe(folder):
    os.mkfifo(folder / "pipe.toml")
    assert "pipe.toml" in golf("recipe", "check", "pipe.toml", "mine.toml", cwd=folder, check=2).stderr


@pytest.mark.parametrize(
    ("text", "first"),
    [("# One. Two.\n", "One."), ("#a\n# b.c d\n\n# e", "a b.c d"), ("name = 1\n# later", ""), ("", ""), ("#\n", "")],
)
def test_the_description_is_the_first_sentence_of_the_first_comment(text, first):
    assert description(text) == first
