"""`golf runs`, and what every command does with the name of a run."""

import io
import json
import shutil
from contextlib import nullcontext

import pytest
from cli import golf, golf_json

from golf.run.folder import Run, lock


@pytest.fixture
def place(trained, tmp_path):
    """Two runs, tiny and other, and a folder that is no run."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    shutil.copytree(copy / "artifacts" / "tiny", copy / "artifacts" / "other")
    recipe = copy / "artifacts" / "other" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 3", "seed = 4"))
    (copy / "artifacts" / "other" / "artifact.bin").unlink()
    (copy / "artifacts" / "notes").mkdir()
    (copy / "artifacts" / "notes" / "mine.txt").write_text("keep me")
    return copy


def test_every_run_is_listed_with_its_figures(place):
    found = {run["name"]: run for run in golf_json("runs", cwd=place)["runs"]}
    assert {name: run["state"] for name, run in found.items()} == {"tiny": "packed", "other": "trained"}
    result = json.loads((place / "artifacts" / "tiny" / "result.json").read_text())
    ledger = json.loads((place / "artifacts" / "tiny" / "ledger.json").read_text())
    assert (found["tiny"]["val_bpb"], found["tiny"]["bytes"]) == (result["val_bpb"], ledger["size"])
    assert found["tiny"]["packed_bpb"] == pytest.approx(ledger["bpb"], abs=1e-6)
    shown = golf("runs", cwd=place).stdout
    assert "tiny" in shown and "notes" not in shown and f"{ledger['size']:,}" in shown


def test_a_damaged_run_does_not_hide_the_others(place):
    (place / "artifacts" / "other" / "result.json").write_text("{")
    done = golf("runs", "--json", cwd=place)
    assert [run["name"] for run in json.loads(done.stdout)["runs"]] == ["tiny"]
    assert "other" in done.stderr


def test_a_comparison_tells_figures_and_recipe_keys(place):
    found = golf_json("runs", "compare", "tiny", "artifacts/other", cwd=place)
    assert found["recipe_differences"] == {"seed": [3, 4]}
    assert [run["name"] for run in found["runs"]] == ["tiny", "other"]
    shown = golf("runs", "compare", "tiny", "other", cwd=place).stdout
    assert "seed" in shown and "bits per byte" in shown
    assert "name two or more" in golf("runs", "compare", "tiny", cwd=place, check=2).stderr


def test_removing_a_run_takes_what_golf_wrote_and_nothing_else(place):
    artifacts = place / "artifacts"
    (artifacts / "other" / "mine.txt").write_text("keep me")
    for name, told in (("notes", "no run"), ("elsewhere", "no folder and no run"), ("tiny", "--yes")):
        assert told in golf("runs", "rm", name, cwd=place, check=2).stderr
    with lock(Run(artifacts / "tiny")):
        assert "in use" in golf("runs", "rm", "tiny", "--yes", cwd=place, check=2).stderr
    assert (artifacts / "tiny" / "artifact.bin").exists()
    golf("runs", "rm", "tiny", "other", "--yes", cwd=place)
    assert sorted(path.name for path in artifacts.iterdir()) == ["notes", "other"]
    assert {path.name for path in (artifacts / "other").iterdir()} - {".lock"} == {"mine.txt"}


def test_one_word_names_a_run_for_every_command(place):
    size = golf_json("inspect", "tiny", cwd=place)["ledger"]["total"]
    assert golf_json("verify", "tiny", "--caps-only", cwd=place)["size"] == size
    assert golf_json("evaluate", "tiny", "--tokens", "129", cwd=place)["tokens"] == 128
    assert golf("generate", "tiny", "def", "--tokens", "2", cwd=place).stdout.startswith("def")
    refused = golf("verify", "other", cwd=place, check=2).stderr
    assert "artifacts/other has no artifact.bin; make it with: golf pack other" in refused


def test_a_pack_that_is_replaced_is_kept_with_its_size(place):
    run = Run(place / "artifacts" / "tiny")
    before = run.artifact.read_bytes()
    done = golf("pack", "tiny", "--cap", "9kB", "--set", "pack.tune_tokens=0", cwd=place)
    kept = run.folder / f"artifact-{len(before)}.bin"
    assert kept.read_bytes() == before != run.artifact.read_bytes()
    assert f"kept as artifacts/tiny/{kept.name}" in " ".join(done.stderr.split())
    assert "next: golf verify artifacts/tiny/artifact.bin" in done.stderr
    golf("verify", kept, "--caps-only", cwd=place)


def test_another_out_needs_no_lock_on_the_run(place):
    with lock(Run(place / "artifacts" / "tiny")):
        golf("pack", "tiny", "--out", "mine.bin", "--cap", "9kB", "--set", "pack.tune_tokens=0", cwd=place)
        assert "in use" in golf("pack", "tiny", cwd=place, check=2).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train", "--out", "artifacts/notes"), "holds other things (mine.txt) and no run"),
        (("train", "--out", "tiny.toml"), "is a file; name a folder"),
        (("train", "--out", ""), "an empty path"),
        (("train", "--out", "a" * 300), "cannot be that long"),
        (("pack", "--points", "3"), "--points are those of --curve"),
        (("pack", "tiny.toml"), "is no run but a file"),
        (("pack", "tinny"), "did you mean tiny?"),
        (("train", "--auto-resume", "--force"), "drop one of the two"),
        (("verify", "text.txt"), "not a golf artifact"),
        (("verify", "none.bin"), "neither here nor in a run"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(place, arguments, told):
    done = golf(*arguments, cwd=place, check=None)
    assert done.returncode in (2, 4)
    assert told in " ".join(done.stderr.split())


def test_a_failure_is_one_json_object_too(place):
    found = json.loads(golf("verify", "none.bin", "--json", cwd=place, check=2).stdout)
    assert found["error"]["exit_code"] == 2 and found["error"]["kind"] == "usage"
    assert "none.bin" in found["error"]["message"]
    damaged = json.loads(golf("inspect", "text.txt", "--json", cwd=place, check=4).stdout)
    assert damaged["error"]["kind"] == "damaged"
    verdict = json.loads(golf("verify", "tiny", "--cap", "100", "--json", cwd=place, check=3).stdout)
    assert verdict["passed"] is False  # the answer is there, so that no second object follows


def test_resuming_without_a_name_takes_the_newest_interrupted_run(place):
    """It is named, and goes on by its own recipe."""
    run = Run(place / "artifacts" / "other")
    run.recipe.write_text(run.recipe.read_text().replace("seed = 4", "seed = 3"))
    run.result.unlink()
    done = golf("train", "--resume", cwd=place)
    assert "resuming artifacts/other, whose last logged step is 12" in " ".join(done.stderr.split())
    assert run.result.exists()


def test_a_requeued_job_starts_or_goes_on(place):
    given = ("train", "--auto-resume", "--out", "artifacts/queued", "--set", "train.steps=4")
    assert golf_json(*given, cwd=place)["steps"] == 4
    done = golf(*given, cwd=place)
    assert "the training was over already, at step 4" in " ".join(done.stderr.split())


def test_an_edited_recipe_is_noticed(place):
    run = Run(place / "artifacts" / "tiny")
    run.recipe.write_text(run.recipe.read_text().replace("steps = 12", "steps = 24"))
    done = golf("train", "--resume", "--out", run.folder, cwd=place, check=2)
    assert "train.steps: 12 in the checkpoint, 24 in recipe.toml" in " ".join(done.stderr.split())


def test_a_prompt_comes_from_stdin_too(place, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"def f")))
    assert golf("generate", "tiny", "-", "--tokens", "2", cwd=place).stdout.startswith("def f")


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_tables_are_as_wide_as_columns_says_and_figures_stay_whole(place, columns, monkeypatch):
    size = f"{Run(place / 'artifacts' / 'tiny').artifact.stat().st_size:,}"
    for arguments in (("runs",), ("verify", "tiny", "--caps-only"), ("inspect", "tiny")):
        monkeypatch.setattr("cli.environment", lambda: {"COLUMNS": columns, "NO_COLOR": "1"})
        shown = golf(*arguments, cwd=place).stdout
        assert max(map(len, shown.splitlines())) <= int(columns)
        assert size in shown
        assert all(line == line.rstrip() for line in shown.splitlines())


def test_quiet_prints_the_answer_alone(place):
    given = ("pack", "tiny", "--cap", "9kB", "--set", "pack.tune_tokens=0")
    quiet, loud = golf(*given, "-q", cwd=place), golf(*given, cwd=place)  # it was asked of one command
    assert "next:" in loud.stderr and quiet.stderr == ""
    assert "packed artifacts/tiny/artifact.bin" in quiet.stdout


def test_every_stage_of_a_pack_is_named_with_its_place(place, monkeypatch):
    from golf import api
    from golf.runtime.observer import Observer

    monkeypatch.chdir(place)
    heard: list[str] = []
    watch = Observer(stage=lambda name, _share: heard.append(name))
    api.pack("tiny", out="x.bin", settings=["pack.tune_tokens=2048"], device="cpu", observing=nullcontext(watch))
    places = [name.split(":")[0] for name in heard if name.startswith("pack ")]
    assert list(dict.fromkeys(places)) == [f"pack {place} of 6" for place in range(1, 7)]


def test_a_folder_of_files_with_such_names_is_no_run(place):
    """Whatever it holds, nothing in it is removed, and no lock is left in it."""
    mine = place / "mine"
    mine.mkdir()
    for name in ("recipe.toml", "metrics.jsonl", "result.json", "report.html", "ledger.json", "artifact.bin"):
        (mine / name).write_text("mine")
    for command in (("runs", "rm", "mine", "--yes"), ("pack", "mine"), ("curve", "mine"), ("report", "mine")):
        assert "no run" in golf(*command, cwd=place, check=2).stderr
    assert len(list(mine.iterdir())) == 6
    (place / "empty").mkdir()
    golf("pack", "empty", cwd=place, check=2)
    assert not list((place / "empty").iterdir())


def test_a_run_named_twice_is_removed_once_and_no_is_no(place, monkeypatch):
    import sys

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert "nothing was removed" in golf("runs", "rm", "other", cwd=place).stderr
    assert golf("runs", "rm", "other", "artifacts/other", "--yes", cwd=place).stdout.count("removed") == 1
    assert not (place / "artifacts" / "other").exists()
    assert "write --json after compare" in golf("runs", "--json", "compare", "a", "b", cwd=place, check=2).stderr


def test_a_recipe_of_another_hand_does_not_break_the_list(place):
    recipe = place / "artifacts" / "other" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 4", "seed = 1979-05-27"))
    assert len(golf_json("runs", cwd=place)["runs"]) == 2
    assert golf_json("runs", "compare", "tiny", "other", cwd=place)["recipe_differences"]["seed"] == [3, "1979-05-27"]


def test_a_folder_that_is_no_run_does_not_hide_a_run_of_its_name(place):
    (place / "tiny").mkdir()
    assert golf_json("verify", "tiny", "--caps-only", cwd=place)["passed"]


def test_the_runs_own_artifact_is_its_own_however_it_is_spelled(place):
    run = Run(place / "artifacts" / "tiny")
    given = ("--cap", "9kB", "--set", "pack.tune_tokens=0")
    size = run.artifact.stat().st_size
    done = golf("pack", "tiny", "--out", run.artifact, *given, cwd=place)
    assert "kept as" in " ".join(done.stderr.split()) and (run.folder / f"artifact-{size}.bin").exists()
    assert json.loads(run.ledger.read_text())["size"] == run.artifact.stat().st_size
    with lock(run):
        assert "in use" in golf("pack", run.checkpoint, *given, cwd=place, check=2).stderr


def test_the_earlier_pack_is_never_lost(place, monkeypatch):
    """Even where the ledger cannot be written after the new pack is there."""
    from golf import api
    from golf.errors import EnvironmentFailure

    run = Run(place / "artifacts" / "tiny")
    before = run.artifact.read_bytes()

    def full(*_arguments):
        raise EnvironmentFailure("the disk is full")

    monkeypatch.setattr(api.durable, "write_text", full)
    golf("pack", "tiny", "--cap", "9kB", "--set", "pack.tune_tokens=0", cwd=place, check=5)
    assert before in (path.read_bytes() for path in run.folder.glob("artifact*.bin"))


def test_a_pack_that_fails_leaves_no_copy_of_the_one_before(place):
    run = place / "artifacts" / "tiny"
    before = sorted(path.name for path in run.iterdir())
    golf("pack", "tiny", "--cap", "500", cwd=place, check=2)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_text_that_moved_is_asked_for_with_data(place):
    (place / "text.txt").rename(place / "moved.txt")
    assert "name it, or another, with --data" in golf("verify", "tiny", cwd=place, check=2).stderr
    golf("verify", "tiny", "--data", "moved.txt", cwd=place)


def test_a_run_is_measured_by_its_checkpoint_and_that_is_said(place):
    assert "before packing" in golf("evaluate", "tiny", "--tokens", "129", cwd=place).stdout
    (place / "artifacts" / "tiny" / "artifact.bin").unlink()
    assert golf_json("evaluate", "--tokens", "129", cwd=place)["tokens"] == 128  # the newest, packed or not


def test_the_front_door_takes_settings_as_people_write_them(place, monkeypatch):
    import golf as package
    from golf.errors import UsageError

    monkeypatch.chdir(place)
    for number, settings in enumerate(("train.steps=2", ["train.steps=2"], {"train.steps": 2})):
        assert package.train("tiny", settings=settings, out=f"artifacts/s{number}", device="cpu").steps == 2
    for wrong in ({"max_bpb": "2"}, {"data": "none.txt"}):
        with pytest.raises(UsageError):
            package.verify("tiny", device="cpu", **wrong)
