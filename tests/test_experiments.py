"""Every experiment's README shows what its results say, and its script explains itself."""

import importlib
import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from experiments.joblist import work
from experiments.records import append, latest, read

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted(path.parent.name for path in ROOT.glob("experiments/*/run.py"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_readmes_tables_are_those_of_the_results(name):
    """Write them anew with: python -m experiments.NAME.table"""
    folder = ROOT / "experiments" / name
    tables = importlib.import_module(f"experiments.{name}.table").tables
    assert "\n".join(tables(read(folder / "results.jsonl"))) in (folder / "README.md").read_text()


@pytest.mark.parametrize("folder", ["bench", "experiments"])
def test_every_script_is_in_its_folders_list(folder):
    text = (ROOT / folder / "README.md").read_text()
    names = EXPERIMENTS if folder == "experiments" else [path.stem for path in (ROOT / folder).glob("*.py")]
    commands = {name: f"{folder}.{name}.run" if folder == "experiments" else f"{folder}.{name}" for name in names}
    assert all(f"`python -m {command}" in text for command in commands.values())


def test_a_line_is_one_object_and_the_last_of_a_kind_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    assert read(path) == []
    for value in (1, 2):
        append(path, {"kind": "a", "value": value})
    append(path, {"kind": "b", "value": 3})
    assert [json.loads(line)["value"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert [row["value"] for row in latest(read(path), "kind")] == [2, 3]


@dataclass(frozen=True)
class Job:
    key: str


def test_what_is_done_or_begun_is_not_done_again(tmp_path):
    """Two workers share a list; a third finds nothing left."""
    out, ran, together = tmp_path / "results.jsonl", [], threading.Barrier(2)
    append(out, {"key": "old"})

    def run(job):
        if job.key in ("a", "b"):  # both workers are at it
            together.wait(timeout=30)
        ran.append(job.key)
        return {"value": job.key}

    def worker():
        work(out, lambda _: [Job(key) for key in ("old", "a", "b", "c")], run)

    workers = [threading.Thread(target=worker) for _ in range(2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    worker()
    assert sorted(ran) == ["a", "b", "c"]
    assert sorted(row["key"] for row in read(out)) == ["a", "b", "c", "old"]


def test_a_run_that_fails_is_begun_anew(tmp_path):
    out = tmp_path / "results.jsonl"
    with pytest.raises(ZeroDivisionError):
        work(out, lambda _: [Job("a")], lambda _: {"value": 1 / 0})
    work(out, lambda _: [Job("a")], lambda _: {"value": 1})
    assert read(out) == [{"key": "a", "value": 1}]


def test_tables_need_no_torch():
    """So that a table is there at once."""
    code = "import experiments.options.table, experiments.compressibility.table, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
