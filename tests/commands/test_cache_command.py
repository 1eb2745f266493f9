"""golf cache: what golf wrote is listed and deleted, and nothing else is."""

import os
import pty
import sys
from pathlib import Path

import pytest
from cli import golf, golf_json

from golf.data import prepare
from golf.data.cache_contents import cache_contents, clear_cache
from golf.recipe import Data, Tokenizer
from golf.runtime.durable import temporary_beside

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"line {i} of a text, whose square is {i * i}\n" for i in range(2000)))
    return path


@pytest.fixture
def folder(tmp_path, text):
    """A workspace whose cache holds what a training put there."""
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "cache"\n')
    tokenizer = Tokenizer(kind="sentencepiece", vocab_size=300)
    prepare(Data(source="text", path=str(text), val_fraction=0.2), tokenizer, cache=tmp_path / "cache")
    return tmp_path


def files(folder):
    return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def test_all_that_a_training_wrote_is_listed(folder):
    listed = golf_json("cache", "list", cwd=folder)
    assert {entry["kind"] for entry in listed["entries"]} == {"tokens", "tokenizer"}
    assert listed["bytes"] == sum(files(folder / "cache").values())
    assert f"{listed['bytes']:,}" in golf("cache", cwd=folder).stdout
    assert golf("cache", cwd=folder).stdout == golf("cache", "list", cwd=folder).stdout


def test_clear_deletes_it_and_says_how_much_that_was(folder):
    total = sum(files(folder / "cache").values())
    assert f"{total:,} bytes freed" in golf("cache", "clear", "--yes", cwd=folder).stdout
    assert not list((folder / "cache").iterdir())
    assert golf_json("cache", "clear", "--yes", cwd=folder)["freed"] == 0


def test_clear_refuses_without_a_terminal(folder, monkeypatch):
    before = files(folder)
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert "--yes" in golf("cache", "clear", cwd=folder, check=2).stderr
    assert files(folder) == before


@pytest.mark.parametrize(("answer", "deleted"), [("y", True), ("n", False), ("", False)])
def test_clear_asks_on_a_terminal(folder, monkeypatch, answer, deleted):
    before = files(folder)
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        golf("cache", "clear", cwd=folder)
    os.close(ours)
    assert (files(folder) != before) is deleted


def test_a_cache_that_is_not_there_holds_nothing(tmp_path):
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "cache"\n')
    assert golf_json("cache", "list", cwd=tmp_path)["entries"] == []
    golf("cache", "clear", "--yes", cwd=tmp_path)
    assert not (tmp_path / "cache").exists()


FOREIGN = (
    "mine.txt",
    "tokenizers/fineweb_1024_bpe.model",
    f"tokenizers/{KEY}.txt",
    f"tokens/{KEY}/notes.txt",
    f"tokens/{KEY}/train_1.bin",
    "tokens/mine/train_000000.bin",
    "datasets/fineweb10B_sp1024/fineweb_val_000000.bin",
    f"{KEY}.model",
)


def test_what_somebody_else_put_there_stays(folder):
    for name in FOREIGN:
        path = folder / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    golf("cache", "clear", "--yes", cwd=folder)
    left = {path.relative_to(folder / "cache").as_posix() for path in files(folder / "cache")}
    assert left == set(FOREIGN)


def outside(tmp_path):
    """Files outside the cache that are named as the cache's own are."""
    away = tmp_path / "away"
    (away / KEY).mkdir(parents=True)
    for name in (f"{KEY}.model", f"{KEY}/train_000000.bin", f"{KEY}/tokens.json"):
        (away / name).write_text("precious")
    return away


@pytest.mark.parametrize("place", ["tokens", "tokenizers", f"tokens/{KEY}"])
def test_a_link_to_a_folder_is_not_followed(tmp_path, place):
    away, cache = outside(tmp_path), tmp_path / "cache"
    link = cache / place
    link.parent.mkdir(parents=True)
    link.symlink_to(away / KEY if place.endswith(KEY) else away)
    before = files(away)
    assert cache_contents(cache) == []
    clear_cache(cache, cache_contents(cache))
    assert files(away) == before and link.is_symlink()


def test_a_link_to_a_file_is_no_entry(tmp_path):
    away, cache = outside(tmp_path), tmp_path / "cache"
    (cache / "tokens" / KEY).mkdir(parents=True)
    (cache / "tokens" / KEY / "train_000000.bin").symlink_to(away / KEY / "train_000000.bin")
    assert clear_cache(cache, cache_contents(cache)) == 0
    assert (away / KEY / "train_000000.bin").exists()


def test_a_folder_that_became_a_link_after_it_was_listed_is_left_alone(tmp_path):
    away, cache = outside(tmp_path), tmp_path / "cache"
    (cache / "tokens" / KEY).mkdir(parents=True)
    (cache / "tokens" / KEY / "train_000000.bin").write_text("ours")
    entries = cache_contents(cache)
    (cache / "tokens" / KEY).rename(tmp_path / "moved")
    (cache / "tokens" / KEY).symlink_to(away / KEY)
    clear_cache(cache, entries)
    assert (away / KEY / "train_000000.bin").exists()


def test_a_cache_that_is_itself_a_link_is_the_users_choice(folder):
    (folder / "cache").rename(folder / "elsewhere")
    (folder / "cache").symlink_to(folder / "elsewhere")
    assert golf_json("cache", "clear", "--yes", cwd=folder)["freed"] > 0
    assert not files(folder / "elsewhere")


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(folder):
    living = temporary_beside(folder / "cache" / "tokenizers" / "x")
    dead = living.with_name(living.name.replace(f"-{os.getpid()}-", "-4194305-"))
    for stray in (living, dead):
        stray.write_bytes(bytes(1000))
    listed = golf_json("cache", "list", cwd=folder)["bytes"]
    assert golf_json("cache", "clear", "--yes", cwd=folder)["freed"] == listed + 1000
    assert list(files(folder / "cache")) == [living]
