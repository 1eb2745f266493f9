"""One way to find a run, its artifact or a model, whatever a user types."""

import os
from pathlib import Path

import pytest

from golf.errors import UsageError
from golf.run.find import find_artifact, find_model, find_run, interrupted_run, newest_run, runs_in
from golf.run.folder import Run

CHECKPOINT, ARTIFACT = "checkpoint.safetensors", "artifact.bin"


def put(folder: Path, name: str, *, seconds: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    os.utime(folder / name, (seconds, seconds))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """old, packed last of all; new, not packed; other, no run at all."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "artifacts" / "old", CHECKPOINT, seconds=1000)
    put(tmp_path / "artifacts" / "old", ARTIFACT, seconds=2000)
    put(tmp_path / "artifacts" / "new", CHECKPOINT, seconds=3000)
    put(tmp_path / "artifacts" / "other", "else", seconds=9000)
    return tmp_path / "artifacts"


def test_the_newest_run_is_the_one_that_was_written_last(runs):
    assert [run.name for run in runs_in(runs)] == ["new", "old"]
    assert newest_run(runs) == Run(runs / "new")
    put(runs / "old", ARTIFACT, seconds=4000)
    assert newest_run(runs, ARTIFACT) == Run(runs / "old")
    assert newest_run(runs) == Run(runs / "new")  # which was trained last


def test_an_older_runs_artifact_is_never_taken_for_the_newest(runs):
    for given in (None, Path("artifact.bin")):
        with pytest.raises(
            UsageError, match=r"newest run, artifacts/new, has no artifact\.bin; make it with: golf pack new"
        ):
            find_artifact(given, runs)


@pytest.mark.parametrize(
    ("having", "told"),
    [
        (CHECKPOINT, "no run in artifacts/; start one with: golf train"),
        (ARTIFACT, "no artifact in artifacts/; make one with: golf pack"),
    ],
)
@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_without_a_run_the_next_command_is_named(tmp_path, monkeypatch, having, told, kind):
    monkeypatch.chdir(tmp_path)
    if kind == "empty":
        (tmp_path / "artifacts").mkdir()
    elif kind == "a file":
        (tmp_path / "artifacts").touch()
    with pytest.raises(UsageError) as caught:
        newest_run(tmp_path / "artifacts", having)
    assert str(caught.value) == told


@pytest.mark.parametrize("given", ["old", "artifacts/old", "artifacts/old/artifact.bin", f"artifacts/old/{CHECKPOINT}"])
def test_a_run_is_found_by_its_name_its_folder_or_a_file_of_it(runs, given):
    assert find_run(Path(given), runs) == Run(Path("artifacts/old"))
    assert find_run(None, runs) == Run(Path("artifacts/new"))


@pytest.mark.parametrize("given", ["old", "artifacts/old", "artifacts/old/artifact.bin"])
def test_an_artifact_is_found_by_its_run_too(runs, given):
    assert find_artifact(Path(given), runs) == Path("artifacts/old/artifact.bin")


def test_a_file_that_is_here_comes_before_runs(runs, tmp_path):
    (tmp_path / "artifact.bin").touch()
    assert find_artifact(Path("artifact.bin"), runs) == Path("artifact.bin")
    put(tmp_path / "old", CHECKPOINT, seconds=1)  # and so does a run's folder
    assert find_run(Path("old"), runs) == Run(Path("old"))


def test_a_name_that_out_gave_is_looked_up_in_the_newest_run_that_has_it(runs):
    put(runs / "old", "small.bin", seconds=10)
    assert find_artifact(Path("small.bin"), runs) == Path("artifacts/old/small.bin")
    with pytest.raises(UsageError, match=r"none\.bin is neither here nor in a run in artifacts/"):
        find_artifact(Path("none.bin"), runs)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("odl", "did you mean old?"),
        ("nothing-like-it", "runs in artifacts/: new, old"),
        ("artifacts/other/else", "is no run but a file"),
        ("here/there", "is no folder and no run"),
    ],
)
def test_what_is_no_run_is_said_with_what_there_is(runs, given, told):
    with pytest.raises(UsageError, match=told.replace("?", r"\?")):
        find_run(Path(given), runs)


def test_a_run_without_a_pack_says_how_to_pack_it(runs):
    with pytest.raises(UsageError, match=r"artifacts/new has no artifact\.bin; make it with: golf pack new"):
        find_artifact(Path("new"), runs)


def test_a_model_is_a_run_or_a_file(runs):
    assert find_model(Path("new"), runs) == Path("artifacts/new")
    assert find_model(Path("artifacts/old"), runs) == Path("artifacts/old")
    assert find_model(Path(f"artifacts/old/{CHECKPOINT}"), runs) == Path(f"artifacts/old/{CHECKPOINT}")


def test_the_interrupted_run_has_metrics_and_no_result(runs):
    assert interrupted_run(runs) is None  # neither has metrics, as imported weights
    for name in ("old", "new"):
        put(runs / name, "metrics.jsonl", seconds=1)
    assert interrupted_run(runs) == Run(runs / "new")
    put(runs / "new", "result.json", seconds=1)
    assert interrupted_run(runs) == Run(runs / "old")
