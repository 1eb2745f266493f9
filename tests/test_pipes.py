"""Standard streams that are closed, or whose reader has gone: no command depends on who reads it."""

import json
import subprocess
import sys

import pytest
from cheats import artifact
from cli import environment

from golf.data import load_tokenizer

INSPECT, VERIFY = ("inspect", "sound.bin"), ("verify", "sound.bin", "--data", "text.txt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pipes")
    (made / "text.txt").write_text("".join(f"line {i} of a text\n" for i in range(4000)))
    (made / "sound.bin").write_bytes(artifact(load_tokenizer("bytes", b""), 100, "text.txt"))
    (made / "golf.toml").write_text('[workspace]\ndata = "cache"\nartifacts = "runs"\n')
    return made


def ran(folder, arguments, *, redirected="", reader=None):
    """The exit code of golf with the shell's redirections, and what reached the other stream."""
    command = " ".join([f'"{sys.executable}" -m golf', *arguments, redirected])
    if reader is not None:
        command = f"{{ {command}; echo $? > code; }} | {reader}"
    (folder / "code").write_text("")
    given = {"cwd": folder, "env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-c", command], check=False, **given)
    written = (folder / "code").read_text()
    return int(written) if written else done.returncode, done


@pytest.mark.parametrize(
    ("arguments", "redirected", "code"),
    [
        ((*VERIFY, "--max-loss", "99"), ">&-", 0),
        ((*VERIFY, "--max-loss", "0.001"), ">&- 2>&-", 3),
        (("verify", "nowhere.bin"), "2>&-", 2),
        (("verify", "text.txt"), ">&- 2>&-", 4),
        ((*VERIFY, "--max-loss", "99"), "> /dev/full", 5),
        ((*INSPECT, "--json"), "2>&-", 0),
        (INSPECT, "<&- >&- 2>&-", 0),
    ],
)
def test_closed_streams(folder, arguments, redirected, code):
    found, done = ran(folder, arguments, redirected=redirected)
    assert found == code
    assert "Traceback" not in done.stderr
    if "--json" in arguments:
        json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((*VERIFY, "--max-loss", "99"), 0), ((*VERIFY, "--max-loss", "0.001"), 3), (INSPECT, 141)],
)
def test_a_reader_that_went_away(folder, arguments, code):
    found, done = ran(folder, arguments, reader="true")
    assert found == code
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_training_goes_on_when_nobody_reads_its_progress(folder):
    settings = ["--set", "data.source=text", "--set", "data.path=text.txt", "--set", "tokenizer.kind=bytes"]
    settings += [
        "--set",
        "train.steps=4",
        "--set",
        "train.log_every=1",
        "--set",
        "data.val_fraction=0.3",
        "--out",
        "run",
    ]
    found, _ = ran(folder, ("train", "smoke", *settings), redirected="2>&1 >/dev/null", reader="true")
    assert found == 0
    assert len((folder / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    assert (folder / "run" / "result.json").is_file()


def test_a_file_never_gets_the_descriptor_of_a_closed_stream(folder):
    """What libraries print to it would land in the file."""
    lines = ["import os", "from golf.runtime.streams import prepare", "os.close(1)", "os.close(2)", "prepare()"]
    code = "; ".join([*lines, "os._exit(os.open('x', os.O_CREAT | os.O_WRONLY))"])
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), check=False)
    assert done.returncode > 2
