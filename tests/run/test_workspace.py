"""golf.toml says where things live, from wherever inside its folder one asks."""

import os
from pathlib import Path

import platformdirs
import pytest

from golf.errors import RecipeError
from golf.run.workspace import Workspace, find_workspace

WHOLE = '[workspace]\ndata = "cache"\nartifacts = "out"\nrecipe = "mine.toml"\n'


def mistakes(folder: Path, text: str) -> list[str]:
    (folder / "golf.toml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        find_workspace(folder)
    return caught.value.mistakes


def test_paths_are_relative_to_the_folder_of_golf_toml(tmp_path, monkeypatch):
    (tmp_path / "golf.toml").write_text(WHOLE)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    expected = Workspace(tmp_path, tmp_path / "cache", tmp_path / "out", str(tmp_path / "mine.toml"))
    assert find_workspace(tmp_path) == find_workspace(deep) == expected
    monkeypatch.chdir(deep)
    assert find_workspace(Path()) == expected


def test_the_nearest_golf_toml_counts(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "golf.toml").write_text(WHOLE)
    (inner / "golf.toml").write_text("")
    assert find_workspace(inner).root == inner


def test_an_empty_golf_toml_means_the_defaults(tmp_path):
    (tmp_path / "golf.toml").write_text("")
    expected = Workspace(tmp_path, tmp_path / ".golf" / "data", tmp_path / "artifacts", "quickstart")
    assert find_workspace(tmp_path) == expected


def test_absolute_paths_and_the_home_folder_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "/scratch"\nartifacts = "~/out"\n')
    workspace = find_workspace(tmp_path)
    assert (workspace.data, workspace.artifacts) == (Path("/scratch"), tmp_path / "home" / "out")


def test_a_recipe_is_a_file_if_it_looks_like_one_or_is_one_else_a_name(tmp_path):
    (tmp_path / "file").write_text("")
    for recipe, found in [("file", str(tmp_path / "file")), ("none.toml", str(tmp_path / "none.toml")), ("name",) * 2]:
        (tmp_path / "golf.toml").write_text(f'[workspace]\nrecipe = "{recipe}"\n')
        assert find_workspace(tmp_path).recipe == found


def test_without_golf_toml_data_is_cached_for_the_user_and_artifacts_stay_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # the search ends there
    here = tmp_path / "here"
    here.mkdir()
    expected = Workspace(here, platformdirs.user_cache_path("golf"), here / "artifacts", "quickstart")
    assert find_workspace(here) == expected


def test_the_search_ends_at_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "golf.toml").write_text(WHOLE)
    home = tmp_path / "home"
    project = home / "project"
    project.mkdir(parents=True)
    assert find_workspace(project).root == tmp_path
    monkeypatch.setenv("HOME", str(home))
    assert find_workspace(project).root == project
    (home / "golf.toml").write_text(WHOLE)
    assert find_workspace(project).root == home


def test_the_search_ends_at_the_root_of_a_file_system(tmp_path, monkeypatch):
    (tmp_path / "golf.toml").write_text(WHOLE)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    real = Path.stat

    def stat(path: Path, **keywords: bool) -> os.stat_result:
        found = real(path, **keywords)
        device = found.st_dev + 1 if path == mounted else found.st_dev
        return os.stat_result((*found[:2], device, *found[3:]))

    monkeypatch.setattr(Path, "stat", stat)
    assert find_workspace(mounted).root == mounted


def test_every_mistake_is_told_at_once_with_its_address(tmp_path):
    text = '[workspace]\ndata = 5\nartifacts = ""\nrecipe = "a\\u0000b"\nrecipes = "x"\n[paths]\n'
    assert mistakes(tmp_path, text) == [
        "golf.toml: workspace.data: must be text in quotes, got 5",
        "golf.toml: workspace.artifacts: must be a path, without zero bytes",
        "golf.toml: workspace.recipe: must be a path, without zero bytes",
        "golf.toml: workspace.recipes: unknown key; did you mean recipe?",
        "golf.toml: paths: unknown key; known keys: workspace",
    ]


def test_a_key_outside_its_section_is_told_where_it_belongs(tmp_path):
    assert mistakes(tmp_path, 'data = "x"') == ["golf.toml: data: unknown key; did you mean workspace.data?"]


def test_a_home_folder_of_nobody_is_told(tmp_path):
    told = mistakes(tmp_path, '[workspace]\ndata = "~no-such-user/x"')
    assert told == ["golf.toml: workspace.data: ~no-such-user is no user of this machine"]


def test_a_golf_toml_further_up_is_named_in_full(tmp_path):
    (tmp_path / "golf.toml").write_text("[workspace")
    (tmp_path / "inside").mkdir()
    with pytest.raises(RecipeError) as caught:
        find_workspace(tmp_path / "inside")
    assert caught.value.mistakes[0].startswith(f"{tmp_path / 'golf.toml'}: not valid TOML: ")


def test_the_workspace_of_this_repository_is_sound():
    root = Path(__file__).parents[2]
    assert find_workspace(root) == Workspace(
        root, root / ".golf" / "data", root / "artifacts", str(root / "recipes" / "quickstart.toml")
    )
