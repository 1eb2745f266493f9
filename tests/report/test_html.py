"""The page that golf report writes: whole, alone, and safe against what stands in the files."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from cli import golf, golf_json

from golf.errors import DamagedFile, RecipeError, UsageError
from golf.report.html import BEGINNING, read_run, report_page

SECTIONS = ["figures", "training", "schedules", "spectra", "bits", "bytes", "gaps", "claim", "recipe"]
VOID = {"meta", "br", "link", "hr", "img", "input"}
HOSTILE = "<script>alert(1)</script>\"'& $x^$"


class Page(HTMLParser):
    """The elements of a page; every one that is opened must be closed in its order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.ids, self.said = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.said.append(text)

    @property
    def words(self):
        return " ".join(self.said)


def checked(text):
    """The page, parsed; it is alone and holds no script."""
    assert text.startswith(BEGINNING)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert value.startswith("#"), value
            assert value[1:] in page.ids
    assert len(page.ids) == len(set(page.ids))
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "#010203" not in text
    return page


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the packed run."""
    return shutil.copytree(trained / "artifacts" / "tiny", tmp_path / "tiny")


def page_of(*folders, **more):
    return checked(report_page([read_run(folder) for folder in folders], **more))


def test_a_packed_run_has_every_section(run):
    page = page_of(run)
    assert [key for key in page.ids if key in SECTIONS] == SECTIONS
    ledger = json.loads((run / "ledger.json").read_text())
    for figure in (f"{ledger['bpb']:.4f}", f"{ledger['float_bpb']:.4f}", f"{ledger['size']:,}", "7,500"):
        assert figure in page.words, figure
    for words in ("not checked here", "golf verify measures it", "fine-tuning", "header", "stable rank", "layers = 2"):
        assert words in page.words, words
    for unit in ("tokens", "bits per byte", "loss (nats per token)", "file (kB)", "share of directions"):
        assert unit in page.words, unit
    assert page.tags.count("svg") == 9 + ("Rate penalty" in page.said)


def test_the_same_run_gives_the_same_bytes_and_pictures_follow_the_page(run):
    text = report_page([read_run(run)])
    assert text == report_page([read_run(run)])
    assert "currentColor" in text and "prefers-color-scheme: dark" in text
    for svg in re.findall(r"<svg [^>]*>", text):
        assert "viewBox" in svg and "width" not in svg and 'role="img"' in svg


def test_hostile_names_and_values_are_text(run, tmp_path):
    evil = tmp_path / HOSTILE.replace("/", "")
    shutil.copytree(run, evil)
    ledger = json.loads((evil / "ledger.json").read_text())
    ledger["candidates"][0] |= {"method": HOSTILE, "reason": HOSTILE}
    (evil / "artifact.bin").unlink()  # so that the ledger's own bytes are shown
    ledger["ledger"]["matrices"][0]["name"] = HOSTILE
    ledger["ledger"]["matrices"][1]["name"] = f"blocks.0.{HOSTILE}"
    ledger["ledger"]["parts"][HOSTILE] = 3
    (evil / "ledger.json").write_text(json.dumps(ledger))
    records = [json.loads(line) for line in (evil / "metrics.jsonl").read_text().splitlines()]
    records[-1]["stable_rank"] = {HOSTILE: 3.0, "_hidden": 4.0, "模型": 5.0}
    records[-1]["matrices"] = {HOSTILE: {"stable_rank": 1.0}}
    (evil / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    recipe = (evil / "recipe.toml").read_text().replace('name = "tiny"', f"name = '''{HOSTILE}'''")
    (evil / "recipe.toml").write_text(recipe)
    page = page_of(evil, prompt=HOSTILE, samples=[HOSTILE])
    assert page.words.count("<script>") > 6
    page_of(evil, run)


def test_several_runs_lie_over_one_another(run, tmp_path):
    other = shutil.copytree(run, tmp_path / "_模型 $")
    (other / "recipe.toml").write_text((run / "recipe.toml").read_text().replace("seed = 3", "seed = 4"))
    (other / "artifact.bin").unlink()
    (other / "ledger.json").unlink()
    page = page_of(run, other)
    assert "Not packed: 2 _模型 $; golf pack makes the artifact." in page.words
    assert "seed" in page.words and "The recipes are the same." not in page.words
    text = report_page([read_run(run), read_run(other)])
    assert "stroke-dasharray" in text  # not told apart by colour alone
    assert "The recipes are the same." in page_of(run, run).words


def test_a_run_that_was_stopped_shows_what_there_is(run):
    for name in ("artifact.bin", "ledger.json", "result.json"):
        (run / name).unlink()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 13, "tok')  # a half-written line
    page = page_of(run)
    assert "training has not ended, not packed" in page.words
    assert page.words.count("golf pack makes the artifact") == 1


def test_imported_weights_have_no_training(run):
    for name in ("artifact.bin", "ledger.json", "result.json", "metrics.jsonl"):
        (run / name).unlink()
    words = page_of(run).words
    assert "No metrics are recorded" in words and "no training recorded, not packed" in words


def test_an_artifact_without_its_ledger_tells_its_bytes_itself(run):
    (run / "ledger.json").unlink()
    words = page_of(run).words
    assert "There is no ledger.json beside the artifact." in words
    assert f"{(run / 'artifact.bin').stat().st_size:,}" in words


def test_a_ledger_of_another_pack_is_said_to_be_one(run):
    ledger = json.loads((run / "ledger.json").read_text()) | {"size": 5}
    (run / "ledger.json").write_text(json.dumps(ledger))
    assert "ledger.json is of another pack than artifact.bin" in page_of(run).words


DAMAGE = {
    "no JSON": "{",
    "too deep": "[" * 100_000,
    "no object": "[]",
    "text for a number": '{"bpb": "1"}',
    "true for a number": '{"bpb": true}',
    "too large": '{"loss": 1e300}',
    "a number with a thousand digits": f'{{"loss": {"9" * 1000}}}',
    "no list": '{"candidates": {}}',
    "no object in a list": '{"factors": [3]}',
    "negative bytes": '{"ledger": {"parts": {"header": -1}}}',
    "a shape of text": '{"ledger": {"matrices": [{"shape": "12"}]}}',
    "no list of matrices": '{"ledger": {"matrices": 7}}',
    "a number for text": '{"candidates": [{"method": 3}]}',
    "text for a flag": '{"candidates": [{"kept": "yes"}]}',
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_ledger_is_named(run, content):
    (run / "ledger.json").write_text(content)
    with pytest.raises(DamagedFile, match=r"ledger\.json"):
        read_run(run)


@pytest.mark.parametrize(
    "content",
    ["{}", '{"bpb": null, "ledger": null}', '{"loss": NaN, "ledger": {"matrices": [{"name": "", "shape": []}]}}'],
)
def test_a_ledger_of_which_little_is_left_is_shown(run, content):
    (run / "ledger.json").write_text(content)
    (run / "artifact.bin").unlink()
    page_of(run)


@pytest.mark.parametrize(
    "record", ['"train_loss": "low"', '"stable_rank": [1]', '"matrices": {"a": 1}', '"tokens": []']
)
def test_damaged_metrics_are_named(run, record):
    (run / "metrics.jsonl").write_text(f'{{"step": 1, "tokens": 5, {record}}}\n')
    with pytest.raises(DamagedFile, match=r"metrics\.jsonl"):
        read_run(run)


def test_metrics_without_numbers_are_shown(run):
    (run / "metrics.jsonl").write_text('{}\n{"step": 3, "tokens": 5, "train_loss": null, "stable_rank": {"a": null}}\n')
    page_of(run)


def test_a_damaged_artifact_or_recipe_is_named(run):
    (run / "recipe.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"recipe\.toml"):
        read_run(run)
    (run / "recipe.toml").unlink()
    (run / "artifact.bin").write_bytes(b"GOLF")
    with pytest.raises(DamagedFile):
        read_run(run)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no folder of a run"):
        read_run(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no run"):
        read_run(tmp_path)


def test_the_command_writes_into_the_newest_run(trained):
    done = golf_json("report", cwd=trained)
    assert done == {"report": "artifacts/tiny/report.html", "runs": ["artifacts/tiny"]}
    page = checked((trained / done["report"]).read_text())
    assert "tiny" in page.words
    assert "wrote artifacts/tiny/report.html" in golf("report", cwd=trained).stdout  # over its own earlier one


def test_the_command_overwrites_no_other_file(trained, tmp_path):
    precious = tmp_path / "recipe.toml"
    precious.write_text("mine")
    refused = golf("report", "--out", precious, cwd=trained, check=2)
    assert "is no report of golf" in refused.stderr and precious.read_text() == "mine"
    golf("report", "--out", precious, "--force", cwd=trained)
    checked(precious.read_text())
    golf("report", "--out", tmp_path, cwd=trained, check=2)


def test_the_command_names_damage_and_strangers(trained, run, tmp_path):
    (run / "report.html").unlink(missing_ok=True)
    (run / "ledger.json").write_text("{")
    assert "ledger.json" in golf("report", run, cwd=trained, check=4).stderr
    assert not (run / "report.html").exists()
    golf("report", tmp_path, cwd=trained, check=2)
    golf("report", tmp_path / "none", cwd=trained, check=2)


def test_a_sample_is_written_by_the_artifact(trained, run, tmp_path):
    golf("report", run, "--sample", "def <b>", "--out", tmp_path / "page.html", cwd=trained)
    page = checked((tmp_path / "page.html").read_text())
    assert "sample" in page.ids and "def <b>" in page.words


def test_a_report_needs_no_torch(run):
    code = "import sys; from pathlib import Path; from golf.report.html import read_run, report_page\n"
    code += "report_page([read_run(Path(sys.argv[1]))]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, run], check=True, capture_output=True)


def test_a_new_training_removes_the_report_of_the_old(run):
    from golf.run.folder import Run

    Run(run).report.write_text("old")
    Run(run).clear()
    assert not (run / "report.html").exists()
