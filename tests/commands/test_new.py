"""golf new: a recipe that loads, fits its cap and its text, and overwrites nothing."""

import math
import os

import pytest
from cli import golf

from golf.model import parameter_count
from golf.recipe import find_recipe, load_recipe
from golf.recipe.starter import BITS, EPOCHS, SIZES, TOKENS_PER_PARAMETER, Starter
from golf.run.workspace import find_workspace

TEXT = "".join(f"line {i} of a text, whose square is {i * i}\n" for i in range(4000))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "book.txt").write_text(TEXT)
    return tmp_path


def made(folder, *arguments):
    golf("new", "mine", "--text", "book.txt", *arguments, cwd=folder)
    return load_recipe(folder / "mine" / "mine.toml")


def test_it_writes_a_recipe_and_a_workspace_and_names_the_next_command(folder):
    done = golf("new", "mine", "--text", "book.txt", "--cap", "60kB", cwd=folder)
    recipe = load_recipe(folder / "mine" / "mine.toml")
    assert (recipe.name, recipe.budget.cap) == ("mine", 60_000)
    assert (recipe.data.source, recipe.data.path) == ("text", str(folder / "book.txt"))
    assert done.stdout.splitlines() == ["mine/mine.toml", "mine/golf.toml"]
    assert done.stderr.splitlines()[-1] == "next: golf train mine/mine.toml"
    assert load_recipe(find_recipe(find_workspace(folder / "mine").recipe)) == recipe


def test_what_it_names_as_the_next_command_trains(folder):
    done = golf("new", ".", "--text", "book.txt", "--cap", "9kB", cwd=folder)
    command = done.stderr.splitlines()[-1].removeprefix("next: golf ").split()
    golf(*command, "--set", "train.steps=1", "--set", "verify.tokens=256", cwd=folder)
    assert (folder / "artifacts" / "mine" / "checkpoint.safetensors").exists()


def test_nothing_is_overwritten_without_force(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "golf.toml").write_text("# my own\n")
    made(folder, "--cap", "60kB")
    refused = golf("new", "mine", "--text", "book.txt", "--cap", "70kB", cwd=folder, check=2)
    assert "--force" in refused.stderr
    assert load_recipe(folder / "mine" / "mine.toml").budget.cap == 60_000
    assert made(folder, "--cap", "70kB", "--force").budget.cap == 70_000
    assert (folder / "mine" / "golf.toml").read_text() == "# my own\n"


@pytest.mark.parametrize("name", ["a/b", "../x", "", "-", "golf", "a\nb"])
def test_a_name_that_is_no_name_writes_nothing(folder, name):
    assert golf("new", "mine", "--text", "book.txt", f"--name={name}", cwd=folder, check=2).stderr
    assert not (folder / "mine").exists()


@pytest.mark.parametrize("path", ['a "b".txt', "a\nb = 1.txt", "ä#.txt"])
def test_a_text_of_any_name_is_what_the_recipe_reads(folder, path):
    (folder / path).write_text(TEXT)
    golf("new", "mine", "--text", path, cwd=folder)
    assert load_recipe(folder / "mine" / "mine.toml").data.path == str(folder / path)


def test_a_text_that_is_not_there_yet_is_told(folder):
    done = golf("new", "mine", cwd=folder)
    assert load_recipe(folder / "mine" / "mine.toml").data.path == str(folder / "mine" / "text.txt")
    assert "mine/text.txt does not exist" in done.stderr


@pytest.mark.parametrize(("option", "kind", "size"), [("sp:512", "sentencepiece", 512), ("bytes", "bytes", 1024)])
def test_the_tokenizer_is_the_one_asked_for(folder, option, kind, size):
    tokenizer = made(folder, "--tokenizer", option).tokenizer
    assert (tokenizer.kind, tokenizer.vocab_size) == (kind, size)


@pytest.mark.parametrize("option", ["sp:", "sp:x", "words", "sp:7", "sp:99999999999"])
def test_a_tokenizer_that_cannot_be_is_refused(folder, option):
    golf("new", "mine", "--text", "book.txt", "--tokenizer", option, cwd=folder, check=2)
    assert not (folder / "mine").exists()


def test_a_pipe_is_no_text(folder):
    os.mkfifo(folder / "pipe")
    golf("new", "mine", "--text", "pipe", cwd=folder, check=2)


@pytest.mark.parametrize("cap", ["8kB", "20kB", "60kB", "200kB", "500kB", "1MB", "3MB", "16MB", "100MB"])
def test_the_weights_fill_the_cap(folder, cap):
    recipe = made(folder, "--cap", cap)
    vocab = 260 if recipe.tokenizer.kind == "bytes" else recipe.tokenizer.vocab_size
    bits = recipe.budget.cap * 8 / parameter_count(recipe.model, vocab)
    assert BITS / 2 < bits < BITS * 2


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size.layers}x{size.width}")
def test_the_starter_counts_weights_as_the_model_does(size, folder):
    starter = Starter("mine", round(size.weights(1024) * BITS / 8), "book.txt", pieces=1024)
    assert starter.size == size
    recipe = made(folder, "--cap", starter.cap, "--tokenizer", "sp:1024")
    assert math.isclose(parameter_count(recipe.model, 1024), size.weights(1024), rel_tol=0.01)


def test_steps_show_each_weight_its_tokens_but_read_a_small_text_ten_times():
    ample = Starter("mine", 200_000, "t", text_bytes=10**9)
    tokens = ample.steps * ample.size.batch_tokens
    assert math.isclose(tokens, TOKENS_PER_PARAMETER * ample.size.weights(1024), rel_tol=0.01)
    small = Starter("mine", 200_000, "t", text_bytes=300_000, pieces=0)
    assert small.steps < small.wanted_steps
    assert small.steps * small.size.batch_tokens <= EPOCHS * 300_000
