"""What is no file, and what is printed of a stranger's names: no command hangs, none writes control characters."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from cheats import artifact
from cli import environment, golf

from golf.data import load_tokenizer

BYTES = load_tokenizer("bytes", b"")
# An escape that clears the screen and fakes a verdict, a backspace, a C1 escape, a bidirectional override.
EVIL = "a\x1b[2J\x1b[1;1HVERIFIED\x08\x9b31m\u202etxt"
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def special(tmp_path):
    (tmp_path / "shards").mkdir()
    for name in ("pipe", "pipe.bin", "pipe.toml", "pipe.jsonl", "shards/x_val_000000.bin", "shards/x_train_000000.bin"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "text.txt").write_text("some text\n" * 500)
    (tmp_path / "sound.bin").write_bytes(artifact(BYTES, 100, "text.txt"))
    (tmp_path / "named.bin").write_bytes(artifact(BYTES, 100, "pipe"))
    (tmp_path / "device.bin").write_bytes(artifact(BYTES, 100, "/dev/zero"))
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "cache"\nartifacts = "runs"\n')
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "pipe"),
        ("verify", "named.bin"),
        ("verify", "device.bin"),
        ("verify", "sound.bin", "--data", "pipe"),
        ("verify", "sound.bin", "--data", "pipe.bin"),
        ("verify", "sound.bin", "--data", "pipe.jsonl"),
        ("verify", "sound.bin", "--data", "shards"),
        ("verify", "sound.bin", "--data", "/dev/zero"),
        ("verify", "sound.bin", "--recipe", "pipe.toml"),
        ("evaluate", "sound.bin", "--data", "pipe"),
        ("evaluate", "sound.bin", "--data", "pipe.bin"),
        ("evaluate", "sound.bin", "--data", "shards"),
        ("evaluate", "named.bin"),
        ("evaluate", "pipe"),
        ("inspect", "pipe"),
        ("generate", "pipe", "x"),
        ("train", "pipe.toml"),
        ("train", "smoke", "--set", "data.source=text", "--set", "data.path=pipe", "--out", "run"),
        ("train", "smoke", "--set", "data.source=text", "--set", "data.path=/dev/zero", "--out", "run"),
        ("train", "smoke", "--set", "data.source=text", "--set", "data.path=text.txt", "--set", "tokenizer.path=pipe",
         "--set", "tokenizer.kind=sentencepiece", "--set", "tokenizer.vocab_size=300", "--out", "run"),
        ("data", "info", "shards"),
        ("data", "prepare", "pipe", "--out", "new", "--tokenizer", "bytes"),
        ("data", "prepare", "text.txt", "--out", "new", "--tokenizer", "pipe"),
        ("import", "pipe", "--recipe", "smoke"),
        ("check", "pipe"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_file_ends_with_a_sentence(special, arguments):
    """In this process: a hang would be the test's."""
    done = golf(*arguments, cwd=special, check=None)
    assert done.returncode in (2, 4), done
    assert done.stderr.startswith(("error: ", "note: ", "Usage: "))
    assert not (special / "new").exists() or not list((special / "new").glob("*.bin"))


@pytest.fixture
def evil(tmp_path):
    """A folder in which everything has an evil name."""
    (tmp_path / "golf.toml").write_text('[workspace]\ndata = "cache"\nartifacts = "runs"\n')
    folder = tmp_path / EVIL
    folder.mkdir()
    (folder / "text.txt").write_text("some text\n" * 500)
    (folder / "broken.bin").write_bytes(b"noise")
    content = artifact(BYTES, 4 + 27, f"{EVIL}/text.txt", f"data.text_field={json.dumps(EVIL)}")
    (folder / "sound.bin").write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", f"{EVIL}/sound.bin"),
        ("verify", f"{EVIL}/sound.bin", "--max-loss", "99"),
        ("verify", f"{EVIL}/broken.bin"),
        ("verify", f"{EVIL}/nowhere.bin"),
        ("verify", f"{EVIL}/sound.bin", "--data", f"{EVIL}/nowhere"),
        ("verify", f"{EVIL}/sound.bin", "--recipe", EVIL),
        ("verify", "--" + EVIL),
        (EVIL,),
        ("inspect", f"{EVIL}/sound.bin"),
        ("inspect", f"{EVIL}/sound.bin", "--json"),
        ("inspect", f"{EVIL}/broken.bin"),
        ("evaluate", f"{EVIL}/sound.bin"),
        ("evaluate", f"{EVIL}/sound.bin", "--data", f"{EVIL}/text.txt"),
        ("evaluate", EVIL),
        ("train", EVIL),
        ("train", "smoke", "--set", EVIL),
        ("train", "smoke", "--set", f"data.path={EVIL}"),
        ("train", "smoke", "--set", f"name={EVIL}", "--dry-run"),
        ("pack", EVIL),
        ("pack", EVIL, "--cap", EVIL),
        ("pack", EVIL, "--set", EVIL),
        ("data", "info", EVIL),
        ("data", "prepare", f"{EVIL}/text.txt", "--out", f"{EVIL}/new", "--tokenizer", EVIL),
        ("data", "prepare", f"{EVIL}/text.txt", "--out", f"{EVIL}/new", "--tokenizer", "bytes", "--name", EVIL),
        ("export", EVIL),
        ("import", f"{EVIL}/broken.bin", "--recipe", "smoke"),
        ("check", EVIL),
        ("check", f"{EVIL}/nowhere"),
        ("generate", f"{EVIL}/broken.bin", "x"),
        ("generate", f"{EVIL}/nowhere.bin", EVIL),
    ],
    ids=lambda arguments: " ".join(arguments).replace(EVIL, "EVIL"),
)
def test_no_control_character_of_a_name_is_printed(evil, arguments):
    done = golf(*arguments, cwd=evil, check=None)
    for printed in (done.stdout, done.stderr):
        assert not CONTROL.search(printed), ascii(printed)


def test_a_name_cannot_write_a_line_of_its_own(tmp_path):
    name = "x\nVERIFIED everything"
    (tmp_path / "sound.bin").write_bytes(artifact(BYTES, 100, name))
    done = golf("verify", "sound.bin", cwd=tmp_path, check=2)
    assert not any(line.startswith("VERIFIED") for line in done.stderr.splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_generated_text_is_made_visible_on_a_terminal_and_kept_in_a_pipe(tmp_path, terminal):
    (tmp_path / "escapes.bin").write_bytes(artifact(BYTES, 4 + 27, "text.txt"))
    command = [sys.executable, "-m", "golf", "generate", "escapes.bin", "", "--tokens", "5", "--temperature", "0"]
    given = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.DEVNULL}
    if not terminal:
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True, **given).stdout.count(b"\x1b") == 5
        return
    controller, end = pty.openpty()
    process = subprocess.Popen(command, stdout=end, **given)
    os.close(end)
    shown = b""
    while part := _read(controller):
        shown += part
    assert process.wait() == 0
    assert shown.replace(b"\r\n", b"\n") == b"?????\n"


def _read(controller):
    try:
        return os.read(controller, 4096)
    except OSError:  # Linux: the other end was closed
        return b""
