"""A run's folder: found again, held by one process at a time, its metrics whole."""

import errno
import json
import math
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import golf
from golf.errors import DamagedFile, EnvironmentFailure, UsageError
from golf.recipe import Recipe, recipe_to_toml
from golf.run.folder import (
    Run,
    append_metrics,
    is_other_run,
    lock,
    read_metrics,
    recipe_differences,
    truncate_metrics,
)

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(golf.__file__).parents[1])}
# Holds the lock of the run in argv[1] until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from golf.run.folder import Run, lock
with lock(Run(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_every_file_of_a_run_has_its_place(tmp_path):
    run = Run(tmp_path / "first")
    assert run.name == "first"
    files = [run.recipe, run.metrics, run.checkpoint, run.previous_checkpoint, run.artifact, run.ledger, run.result]
    assert [file.relative_to(run.folder).as_posix() for file in files] == [
        "recipe.toml",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "checkpoint.previous.safetensors",
        "artifact.bin",
        "ledger.json",
        "result.json",
    ]


def test_a_folder_holds_another_run_if_any_key_of_the_recipe_differs(tmp_path):
    run, recipe = Run(tmp_path), Recipe(name="x")
    assert not is_other_run(run, recipe)  # nothing is there yet
    run.recipe.write_text(recipe_to_toml(recipe))
    assert not is_other_run(run, recipe)
    run.recipe.write_text('name = "x"\n')  # spelled otherwise, resolved to the same
    assert not is_other_run(run, recipe)
    other = Recipe.model_validate({"name": "x", "seed": 1, "data": {"source": "text", "path": "p"}})
    assert is_other_run(run, other)
    assert recipe_differences(run, other) == [
        'data.path: nothing there, "p" here',
        'data.source: "stdlib" there, "text" here',
        "seed: 0 there, 1 here",
    ]


def test_a_recipe_that_cannot_be_read_counts_as_another(tmp_path):
    run = Run(tmp_path)
    run.recipe.write_text('name = "x"\nkey_of_another_version = 1\n')
    assert is_other_run(run, Recipe(name="x"))
    assert "unknown key" in recipe_differences(run, Recipe(name="x"))[0]


def hold(folder: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_process_leaves_at_once_and_a_killed_holder_does_not_block(tmp_path):
    run = Run(tmp_path / "run")
    with hold(run.folder) as child:
        try:
            with pytest.raises(UsageError) as caught, lock(run):
                pytest.fail("two processes hold one lock")
            told = f"{run.folder} is in use by process {child.pid} on {platform.node()}; wait for it, or stop it"
            assert str(caught.value) == told
        finally:
            child.send_signal(signal.SIGKILL)
    assert (run.folder / ".lock.owner").exists()  # the signature of the dead
    with lock(run):
        assert json.loads((run.folder / ".lock.owner").read_text()) == {"pid": os.getpid(), "host": platform.node()}
    assert not (run.folder / ".lock.owner").exists()


def test_a_lock_is_exclusive_within_one_process_too_and_free_afterwards(tmp_path):
    run = Run(tmp_path)
    with lock(run), pytest.raises(UsageError, match=f"in use by process {os.getpid()} on"), lock(run):
        pytest.fail("held twice")
    with lock(run), lock(Run(tmp_path / "another")):
        pass


def test_a_lock_is_given_back_when_its_holder_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(Run(tmp_path)):
        1 / 0  # noqa: B018
    with lock(Run(tmp_path)):
        pass


@pytest.mark.parametrize("signature", [b"", b"{", b"[]", b'{"pid": "x", "host": 5}', b'{"pid": 1}', b"\xff", None])
def test_an_unreadable_or_stale_signature_names_nobody(tmp_path, signature):
    run = Run(tmp_path)
    stale = json.dumps({"pid": 1 << 40, "host": platform.node()}).encode()
    with lock(run):
        (tmp_path / ".lock.owner").write_bytes(stale if signature is None else signature)
        with pytest.raises(UsageError, match="is in use by another process; wait for it"), lock(run):
            pytest.fail("held twice")


def test_a_folder_that_was_made_for_nothing_is_gone_again(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(Run(tmp_path / "above" / "run")):
        1 / 0  # noqa: B018
    assert not (tmp_path / "above").exists()
    with lock(Run(tmp_path / "run")):
        (tmp_path / "run" / "metrics.jsonl").touch()
    with lock(Run(tmp_path / "run")):
        pass
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_taking_the_lock_sweeps_what_a_killed_process_left(tmp_path):
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        pass
    from golf.runtime import durable

    stray = tmp_path / f".golf-partial-{durable._host()}-{child.pid}-01234567"
    stray.touch()
    with lock(Run(tmp_path)):
        assert not stray.exists()


def test_a_folder_that_cannot_be_made_is_an_environment_failure(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(EnvironmentFailure, match=r"cannot lock .*file/run: Not a directory"),
        lock(Run(tmp_path / "file/run")),
    ):
        pytest.fail("locked nothing")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
records = st.lists(
    st.fixed_dictionaries({}, optional={"step": st.integers(0, 9), "x": json_values, "\n": json_values}), max_size=6
)


@settings(max_examples=60)
@given(written=records, step=st.integers(0, 9), half=st.binary(max_size=5).map(lambda b: b.replace(b"\n", b"")))
def test_metrics_are_read_as_written_and_cut_after_a_step(tmp_path_factory, written, step, half):
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    path.unlink(missing_ok=True)
    for record in written:
        append_metrics(path, record)
    assert read_metrics(path) == written
    with path.open("ab") as file:
        file.write(half)  # a process was killed in the middle of a line
    assert read_metrics(path) == written
    truncate_metrics(path, step)
    kept = [record for record in written if record.get("step", 0) <= step]
    assert read_metrics(path) == kept
    append_metrics(path, {"step": step})
    assert read_metrics(path) == [*kept, {"step": step}]


def test_a_line_after_a_half_written_one_starts_on_its_own(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"st')
    append_metrics(path, {"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    path = tmp_path / "made" / "metrics.jsonl"
    append_metrics(path, {"step": 1, "loss": math.nan, "deep": [math.inf, {"x": -math.inf}], "text": "NaN"})
    assert read_metrics(path) == [{"step": 1, "loss": None, "deep": [None, {"x": None}], "text": "NaN"}]


def test_every_line_is_on_disk_for_other_readers_when_append_returns(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in range(3):
        append_metrics(path, {"step": step})
        assert path.read_bytes().count(b"\n") == step + 1


def test_cutting_keeps_the_bytes_of_other_lines_and_does_not_touch_a_file_without_need(tmp_path):
    path = tmp_path / "metrics.jsonl"
    truncate_metrics(path, 5)
    assert not path.exists()
    path.write_bytes(b'{"step":1,  "odd" :"spacing"}\n{"event":"start"}\n{"step":6}\n')
    truncate_metrics(path, 5)
    assert path.read_bytes() == b'{"step":1,  "odd" :"spacing"}\n{"event":"start"}\n'
    before = path.stat()
    truncate_metrics(path, 5)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(
    "line", [b"{", b"", b"5", b"[]", b"\xff", b"[" * 100_000, b'{"step": "x"}', b"\0\0"], ids=range(8)
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    for use in (read_metrics, lambda path: truncate_metrics(path, 1)):
        with pytest.raises(DamagedFile, match=r"metrics.jsonl: line 2 is no JSON object"):
            use(path)


def test_metrics_that_cannot_be_written_or_read_are_an_environment_failure(tmp_path):
    for use in (lambda path: append_metrics(path, {}), read_metrics):
        with pytest.raises(EnvironmentFailure, match=os.strerror(errno.EISDIR)):
            use(tmp_path)


def test_rooms_that_every_command_needs_load_without_torch():
    code = (
        "import golf.run.folder, golf.run.workspace, golf.runtime.interrupt, sys;"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
