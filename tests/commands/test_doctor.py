"""golf doctor: what golf needs is named, what is missing ends with 5, and nothing else does."""

import tomllib
from pathlib import Path

import pytest
from cli import golf, golf_json
from packaging.requirements import Requirement

from golf.recipe import find_recipe, load_recipe
from golf.runtime import machine
from golf.runtime.device import resolve_device
from golf.training.speed import measure_speed

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.fixture(autouse=True)
def _no_speed(monkeypatch):
    """One step after the first instead of two seconds of them."""
    monkeypatch.setattr(measure_speed, "__kwdefaults__", {"seconds": 0.0})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "cache"\n')
    return tmp_path


def test_the_packages_are_those_of_the_project():
    assert set(machine.NEEDED) == {Requirement(each).name for each in PROJECT["dependencies"]}
    extras = {extra: {Requirement(r).name for r in named} for extra, named in PROJECT["optional-dependencies"].items()}
    assert {extra: {name} for extra, name in machine.EXTRAS.items()} == {e: n for e, n in extras.items() if e != "dev"}


def test_it_tells_what_the_machine_offers(folder):
    found = golf_json("doctor", cwd=folder)
    assert {package["name"] for package in found["needed"]} == set(machine.NEEDED)
    assert all(package["version"] and package["problem"] is None for package in found["needed"])
    assert found["processor"]["cores"] >= 1 and found["processor"]["threads"] >= 1
    assert found["workspace"]["data"]["path"] == str(folder / "cache")
    assert found["workspace"]["data"]["free"] > 0 and found["workspace"]["data"]["writable"]
    assert found["workspace"]["cached_bytes"] == 0
    assert found["speed"]["tokens_per_second"] > 0
    assert not (folder / "cache").exists() and not (folder / "artifacts").exists()


def test_the_tables_say_what_each_line_means(folder):
    shown = golf("doctor", cwd=folder).stdout
    for named in ("golf", "Python", *("torch", "numpy", "sentencepiece", "zstandard", "constriction"), "bfloat16"):
        assert named in shown
    assert "tokens/s" in shown and "quickstart's 800" in " ".join(shown.split())


@pytest.mark.parametrize("package", ["zstandard", "torch", "rich"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_needed_package_that_is_missing_ends_with_5(folder, monkeypatch, package, as_json):
    monkeypatch.setattr(machine, "_problem", lambda name: "not installed" if name == package else None)
    done = golf("doctor", *["--json"] * as_json, cwd=folder, check=5)
    assert f"{package} (not installed)" in done.stderr and f"pip install {package}" in done.stderr


def test_a_package_that_cannot_be_imported_is_broken(folder, monkeypatch):
    def refuse(name):
        raise OSError("libfoo.so: cannot open")

    monkeypatch.setattr(machine.importlib, "import_module", refuse)
    assert all("libfoo.so" in package.problem for package in machine.needed_packages())


def test_an_extra_that_is_missing_is_told_with_its_command(folder, monkeypatch):
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    shown = " ".join(golf("doctor", cwd=folder).stdout.split())
    for package in machine.EXTRAS.values():
        assert f"pip install {package}" in shown


def test_a_broken_workspace_and_a_failing_measurement_are_notes(folder, monkeypatch):
    from golf.training import speed

    def fail(recipe, **given):
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(speed, "measure_speed", fail)
    (folder / "golf.toml").write_text("[workspace\n")
    done = golf("doctor", cwd=folder)
    assert "golf.toml" in done.stderr and "CUDA error" in done.stderr
    found = golf_json("doctor", cwd=folder)
    assert found["workspace"] is None and found["speed"] is None


def test_a_disk_that_is_not_there_is_its_nearest_parents(tmp_path):
    (tmp_path / "file").write_text("")
    assert machine.disk(tmp_path / "a" / "b").writable
    assert not machine.disk(tmp_path / "file" / "b").writable
    assert machine.disk(tmp_path / "a" / "b").free > 0


def test_a_system_without_proc_is_no_failure(monkeypatch):
    monkeypatch.setattr(machine, "_colons", lambda file: [])
    assert machine.processor().model
    machine.memory()


def test_the_speed_is_that_of_the_recipe():
    recipe = load_recipe(find_recipe("smoke"))
    speed = measure_speed(recipe, device=resolve_device("cpu"))
    assert speed.tokens_per_second * speed.seconds == pytest.approx(recipe.train.steps * recipe.train.batch_tokens)
