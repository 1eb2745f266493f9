"""A recipe is right as a whole, or every mistake in it is told at once, with its address."""

import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import golf
from golf.errors import RecipeError, UsageError
from golf.recipe import Recipe, find_recipe, load_recipe, parse_recipe, recipe_from_dict, recipe_to_toml
from golf.recipe.load import shipped_recipes
from golf.recipe.toml import MAX_BYTES, read_toml, write_toml
from golf.recipe.validate import MAX_MISTAKES

NAMED = 'name = "x"\n'
TOP = "known keys: name, seed, budget, data, tokenizer, model, optimizer, train, pack, verify"
FORMS = "plain bytes (16000000 or 16_000_000), or a number with B, kB, MB, GB (thousands) or KiB, MiB, GiB (1024s)"


def mistakes(text: str | bytes, *settings: str) -> list[str]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content, source="r.toml", settings=settings)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    assert caught.value.exit_code == 2
    return caught.value.mistakes


def test_a_name_is_all_that_a_recipe_needs():
    recipe = parse_recipe(NAMED.encode(), source="r.toml")
    assert recipe == Recipe(name="x")
    assert recipe.budget.cap == 16_000_000


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "name: missing, and it has no default"),
        ("name = 5", "name: must be text in quotes, got 5"),
        (
            'name = "a b"',
            "name: must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit, got \"a b\"",
        ),
        ("seed = -1", "seed: must be in [0, 9_223_372_036_854_775_808), got -1"),
        ("seed = 1.0", "seed: must be a whole number, got 1.0"),
        ("seed = true", "seed: must be a whole number, got true"),
        ("seed = 10000000000000000000", "seed: must fit in 64 bits"),
        ("steps = 5", "steps: unknown key; did you mean train.steps?"),
        ("sede = 5", "sede: unknown key; did you mean seed?"),
        ("[trian]", "trian: unknown key; did you mean train?"),
        ("colour = 1", f"colour: unknown key; {TOP}"),
        ('"\\u001b[31m" = 1', f'"\\u001b[31m": unknown key; {TOP}'),
        ("train = 5", "train: must be a section, got 5"),
        ("[train]\nsetps = 5", "train.setps: unknown key; did you mean steps?"),
        ("[train]\nlr = 1.0", "train.lr: unknown key; did you mean optimizer.lr?"),
        (
            "[optimizer.rank]\nfoo = 1",
            "optimizer.rank.foo: unknown key; known keys: kind, start, end, hold, finish, down_end",
        ),
        ('[train]\nsteps = "5"', 'train.steps: must be a whole number, got "5"'),
        ("[train]\nsteps = 0", "train.steps: must be in [1, 1_000_000_000], got 0"),
        ("[train]\nclip = inf", "train.clip: must be finite, got inf"),
        ("[train]\nclip = nan", "train.clip: must be finite, got nan"),
        ("[train]\nmin_lr = 2", "train.min_lr: must be in [0, 1], got 2"),
        ("[train]\nlog_every = 0", "train.log_every: must be in [1, 1_000_000_000], got 0"),
        ('[data]\nsource = "text"\npath = "a\\u0000"', "data.path: must be a path, without zero bytes"),
        ('[train]\ncompile = "yes"', 'train.compile: must be true or false, got "yes"'),
        ("[optimizer]\nlr = true", "optimizer.lr: must be a number, got true"),
        (
            '[optimizer]\nname = "muonn"',
            'optimizer.name: must be "numuon", "muon" or "adamw", got "muonn"; did you mean "muon"?',
        ),
        ('[optimizer]\nname = "sgd"', 'optimizer.name: must be "numuon", "muon" or "adamw", got "sgd"'),
        ("[optimizer]\nbetas = 5", "optimizer.betas: must be a list, got 5"),
        ("[optimizer]\nbetas = [0.5]", "optimizer.betas.1: missing; this list needs more values"),
        ("[optimizer]\nbetas = [0.5, 0.5, 0.5]", "optimizer.betas: must have 2 values, got [0.5, 0.5, 0.5]"),
        ("[optimizer]\nbetas = [0.5, 1.0]", "optimizer.betas.1: must be less than 1, got 1.0"),
        ("[optimizer]\nlr = {a = 1}", "optimizer.lr: must be a number, got a section"),
        ('[budget]\ncap = "16Mb"', f"budget.cap: '16Mb' is no size; write {FORMS}"),
        ('[budget]\ncap = "2000GB"', 'budget.cap: must be in (0, 1_099_511_627_776], got "2000GB"'),
        ("[budget]\ncap = 1.5", "budget.cap: must be a whole number, got 1.5"),
        ("[data]\npath = 2020-01-01", "data.path: must be text in quotes, got 2020-01-01"),
        ('[data]\npath = "x"', 'data: data.path goes with source = "text" or "shards", not "stdlib"'),
        ('[data]\nsource = "text"', 'data: source = "text" needs data.path'),
        ("[model]\nwidth = 100\nheads = 3\nkv_heads = 1", "model: width 100 is not a multiple of heads 3"),
        (
            "[model]\nwidth = 100\nheads = 3\nkv_heads = 2",
            "model: width 100 is not a multiple of heads 3; heads 3 is not a multiple of kv_heads 2",
        ),
        ("[optimizer.rank]\nhold = 0.9", "optimizer.rank: hold 0.9 lies after finish 0.8"),
    ],
)
def test_a_mistake_says_where_what_and_what_it_got(text, mistake):
    named = text if text == "" or text.startswith("name") else NAMED + text
    assert mistakes(named) == [f"r.toml: {mistake}"]


def test_every_mistake_is_told_at_once_those_of_settings_with_the_setting():
    text = 'nmae = "x"\n[train]\nsteps = 0\n[model]\nwidth = 100\nheads = 3\n'
    told = mistakes(text, "foo", "seed=-1", "train.warmup=2", "optimizer.rank.hold=0.95", "pakc.coder=zstd", "data=5")
    assert told == [
        "--set foo: write it as section.key=value",
        "r.toml: name: missing, and it has no default",
        "--set seed=-1: must be in [0, 9_223_372_036_854_775_808), got -1",
        "--set data=5: must be a section, got 5",
        "r.toml: model: width 100 is not a multiple of heads 3; heads 3 is not a multiple of kv_heads 2",
        "--set optimizer.rank.hold=0.95: optimizer.rank: hold 0.95 lies after finish 0.8",
        "r.toml: train.steps: must be in [1, 1_000_000_000], got 0",
        "--set train.warmup=2: must be in [0, 1], got 2",
        "r.toml: nmae: unknown key; did you mean name?",
        "--set pakc.coder=zstd: pakc: unknown key; did you mean pack?",
    ]


def test_no_one_reads_thousands_of_mistakes():
    text = NAMED + "".join(f"key{n} = 1\n" for n in range(4000))
    told = mistakes(text)
    assert len(told) == MAX_MISTAKES + 1
    assert told[-1] == "r.toml: 3,950 more mistakes"


@pytest.mark.parametrize(
    ("setting", "address", "value"),
    [
        ("seed=7", "seed", 7),
        ("train.steps = 5", "train.steps", 5),
        ("budget.cap=15MB", "budget.cap", 15_000_000),
        ("budget.cap=15_000_000", "budget.cap", 15_000_000),
        ("optimizer.betas=[0.5, 0.6]", "optimizer.betas", (0.5, 0.6)),
        ("optimizer.rank.kind=fixed", "optimizer.rank.kind", "fixed"),
        ("train.compile=true", "train.compile", True),
        ('name="quoted"', "name", "quoted"),
        ("name=plain # comment", "name", None),
        ("data.text_field=a=b", "data.text_field", "a=b"),
        ("data.text_field=", "data.text_field", ""),
        ("data.text_field=5\nseed = 9", "data.text_field", "5\nseed = 9"),
    ],
)
def test_a_setting_lies_over_the_file(setting, address, value):
    if value is None:
        assert "must be 1 to 64" in mistakes(NAMED, setting)[0]
        return
    found = parse_recipe(b'name = "x"\nseed = 1\n[train]\nsteps = 3\n', source="r.toml", settings=[setting])
    for key in address.split("."):
        found = getattr(found, key)
    assert found == value


def test_the_last_of_two_settings_of_one_key_holds():
    assert parse_recipe(NAMED.encode(), source="r.toml", settings=["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize("setting", ["", "seed", "=5", ".seed=5", "train.=5", "train..steps=5", "a.b.c.d.e.f.g.h.i=5"])
def test_a_setting_without_an_address_is_told(setting):
    assert mistakes(NAMED, setting) == [f"--set {setting}: write it as section.key=value"]


def test_a_setting_below_a_value_is_told():
    assert mistakes(NAMED, "name.first=x") == ["--set name.first=x: name is a value, not a section"]


def test_terminal_escapes_never_reach_the_terminal():
    told = mistakes(NAMED, "name=\x1b[31mred", "\x1b[31m=5", "\x1b[31m", "data.source=\udcff")
    assert all(line.isprintable() for line in told)
    assert len(told) == 4


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff", "not UTF-8 text (byte 0)"),
        (b"name", "not valid TOML: Expected '=' after a key in a key/value pair (at end of document)"),
        (b'name = "x"\nname = "y"', "not valid TOML: Cannot overwrite a value (at end of document)"),
        (b"seed = " + b"9" * 5000, "not valid TOML: a number has more than 4,300 digits"),
        (b"#" * (MAX_BYTES + 1), "more than 64,000 bytes, which no recipe needs"),
    ],
    ids=["utf-8", "syntax", "twice", "digits", "size"],
)
def test_what_is_no_toml_is_told(content, told):
    assert mistakes(content) == [f"r.toml: {told}"]


DOTS = "a." * 20_000 + "a"
DEEP = {
    "dotted key": f"{DOTS} = 1",
    "dotted key after a quoted =": f'"=".{DOTS} = 1',
    "dotted key after a quoted #": f'"#".{DOTS} = 1',
    "dotted key in an inline table": f"x = {{{DOTS} = 1}}",
    "dotted key with spaces": "a . " * 15_000 + "a = 1",
    "dotted key of quoted parts": '"a".' * 15_000 + "a = 1",
    "dotted key over a line separator": '"\u2028".' * 10_000 + "a = 1",
    "header": f"[{DOTS}]",
    "array of tables": f"[[{DOTS}]]",
    "arrays on one line": "x = " + "[" * 60_000,
    "arrays on many lines": "x = " + "[\n" * 30_000,
    "inline tables": "x = " + "{a=" * 20_000,
    "after a multi-line string": f'x = """a"b""c\\""""""\n{DOTS} = 1',
    "after a literal multi-line string": f"x = '''a'b''c'''''\n{DOTS} = 1",
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_nesting_is_refused_fast_and_with_little_memory(name):
    text = DEEP[name]
    tracemalloc.start()
    began = time.process_time()
    told = mistakes(text)
    seconds, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    line = 9 if name == "arrays on many lines" else 2 if name.startswith("after") else 1
    assert told == [f"r.toml: line {line}: nested more than 8 levels deep"]
    assert seconds < 0.2
    assert peak < 5_000_000


@pytest.mark.parametrize(
    "text",
    [
        '[data]\nsource = "text"\npath = "' + "." * 5000 + '"',
        "[data]\nsource = 'text'\npath = '" + "[" * 5000 + "'",
        '[data]\nsource = "text"\npath = """' + '[{.\n\\"' * 5000 + '"""',
        "[data]\nsource = 'text'\npath = '''" + "[{.\n\"'" * 5000 + "'''",
        "#" + ".[{" * 5000,
        "[optimizer]\nbetas = [\n0.5, # first [[[[[[[[[[[[\n0.5,\n]",
        "\r\n".join(["[train]", "steps = 5", "warmup = 0.1"]),
    ],
    ids=["basic", "literal", "multi-line basic", "multi-line literal", "comment", "commented list", "CRLF"],
)
def test_brackets_and_dots_in_text_are_not_nesting(text):
    parse_recipe((NAMED + text).encode(), source="r.toml")


def test_an_editors_byte_order_mark_is_no_mistake():
    assert parse_recipe(b"\xef\xbb\xbf" + NAMED.encode(), source="r.toml").name == "x"


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"name": "x", "data": {"source": "text", "path": "\ud800"}}, 'data.path: must be Unicode text, got "\\ud800"'),
        ({"name": "x", "train": {"log_every": 1 << 200_000}}, "train.log_every: must fit in 64 bits"),
        ({"name": "x", "optimizer": {"lr": 1 << 20_000}}, "optimizer.lr: must fit in 64 bits"),
        ({"name": "x", "seed": None}, "seed: must be a whole number, got nothing"),
        ({}, "name: missing, and it has no default"),
    ],
    ids=["surrogate", "huge", "huge float", "null", "empty"],
)
def test_what_only_a_manifest_can_hold_is_told(document, told):
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict(document, source="m")
    assert caught.value.mistakes == [f"m: {told}"]


def test_a_bottomless_manifest_is_refused():
    document: dict = {}
    for _ in range(100_000):
        document = {"a": document}
    with pytest.raises(RecipeError) as caught:
        recipe_from_dict({"name": "x", "deep": document}, source="m")
    assert caught.value.mistakes == ["m: deep: nested more than 8 levels deep"]


# Recipes for the round trip: every kind of value, at its edges, with text that TOML has to escape.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        "\x7f",
        "\x00",
        "\\",
        '"',
        "'''",
        '"""',
        "\u2028\u0085\ufeff",
        "a\r\n\tb",
        "\\u007f",
        "/\\/",
        "\U0001f3cc",
        "=[]#{}.",
    ]
)
paths = texts.filter(lambda text: text and "\0" not in text)
fractions = st.floats(0, 1)
positive = st.floats(0, 10, exclude_min=True)
recipes = st.fixed_dictionaries(
    {"name": st.text("aZ09._-", min_size=1, max_size=63).map("x".__add__)},
    optional={
        "seed": st.integers(0, (1 << 63) - 1),
        "budget": st.fixed_dictionaries(
            {"cap": st.integers(1 << 20, 1 << 40)},
            optional={"code_bytes": st.integers(0, 1 << 19), "max_bpb": positive},
        ),
        "data": st.fixed_dictionaries(
            {"source": st.just("text"), "path": paths}, optional={"val_path": paths, "text_field": texts}
        ),
        "optimizer": st.fixed_dictionaries(
            {},
            optional={
                "lr": positive,
                "nesterov": st.booleans(),
                "betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
                "rank": st.fixed_dictionaries({}, optional={"start": st.floats(0.01, 1), "hold": st.floats(0, 0.8)}),
            },
        ),
        "pack": st.fixed_dictionaries({}, optional={"row_smoothing": fractions, "coder": st.just("zstd")}),
    },
)


@settings(max_examples=60)
@given(document=recipes)
def test_a_recipe_written_out_is_the_same_recipe(document):
    recipe = recipe_from_dict(document, source="d")
    text = recipe_to_toml(recipe)
    again = parse_recipe(text.encode(), source="again")
    assert again == recipe
    assert recipe_to_toml(again) == text


@given(
    text=texts, number=st.floats(allow_nan=False, allow_infinity=False), whole=st.integers(-(1 << 63), (1 << 63) - 1)
)
def test_toml_is_read_as_it_was_written(text, number, whole):
    document = {
        "t": text,
        "n": number,
        "w": whole,
        "list": [text, number, whole, True],
        "section": {"sub": {"t": text}},
    }
    assert read_toml(write_toml(document).encode(), source="") == document


def test_a_written_recipe_shows_every_default_but_nothing_unset():
    text = recipe_to_toml(Recipe(name="x"))
    assert text.startswith('name = "x"\nseed = 0\n\n[budget]\ncap = 16000000\n')
    assert "[optimizer.rank]\n" in text
    assert "max_bpb" not in text
    assert "None" not in text


@pytest.mark.parametrize("path", sorted(shipped_recipes().glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_loads_and_is_named_after_its_file(path):
    assert load_recipe(path).name == path.stem


def test_a_recipe_is_found_by_path_then_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "mine").mkdir()  # a folder of the recipe's name is no recipe
    inside = tmp_path / "recipes" / "mine.toml"
    inside.write_text(NAMED)
    (tmp_path / "other.toml").write_text(NAMED)
    assert find_recipe("mine") == find_recipe("mine.toml") == Path("recipes/mine.toml")
    assert find_recipe("recipes/mine.toml") == Path("recipes/mine.toml")
    assert find_recipe("other.toml") == Path("other.toml")
    assert find_recipe(str(inside)) == inside


def test_a_recipe_that_does_not_exist_is_told_with_the_nearest_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr("golf.recipe.load.shipped_recipes", lambda: shipped)
    for name, told in [
        ("", ""),
        ("quickstart", "; did you mean quickstart?"),
        ("baseline", "; shipped recipes: quickstart"),
    ]:
        if name == "quickstart":
            (shipped / "quickstart.toml").write_text(NAMED)
        with pytest.raises(RecipeError) as caught:
            find_recipe(f"{name[:-1]}x")
        assert caught.value.mistakes == [f'"{name[:-1]}x": no such recipe{told}']


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "", "."])
def test_a_name_that_no_file_can_have_is_told(name):
    with pytest.raises(RecipeError, match="no such recipe"):
        find_recipe(name)


@pytest.mark.parametrize(
    ("name", "why"), [("none.toml", "No such file"), (".", "Is a directory"), ("a\0", "null byte")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, name, why):
    with pytest.raises(RecipeError, match=f"cannot be read: .*{why}"):
        load_recipe(tmp_path / name)


def test_a_device_is_not_read_and_a_large_file_not_to_its_end(tmp_path):
    with pytest.raises(UsageError, match="no regular file"):
        load_recipe(Path("/dev/zero"))
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 40)  # a hole, which takes no space
    with pytest.raises(RecipeError, match="more than 64,000 bytes"):
        load_recipe(tmp_path / "large.toml")


def test_recipes_load_without_torch():
    code = "import golf.recipe, sys; print([m for m in ('torch', 'numpy', 'difflib') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(Path(golf.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("optimizer.rate_penalty.strength", "strong", 'must be a number of 0 to 1,000, or "auto", got "strong"'),
        ("optimizer.rate_penalty.strength", "-1", 'must be a number of 0 to 1,000, or "auto", got -1'),
        ("pack.tune_tokens", "1.5", 'must be a whole number of 0 to 1,099,511,627,776, or "auto", got 1.5'),
        ("pack.tune_tokens", "true", 'must be a whole number of 0 to 1,099,511,627,776, or "auto", got true'),
    ],
)
def test_a_number_or_auto_is_refused_in_one_sentence(key, value, sentence):
    with pytest.raises(RecipeError) as caught:
        parse_recipe(b'name = "x"', source="x.toml", settings=[f"{key}={value}"])
    assert caught.value.mistakes == [f"--set {key}={value}: {sentence}"]
