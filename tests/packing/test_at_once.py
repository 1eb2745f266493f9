"""Two packs of one run, and a verdict while a pack replaces the file."""

import subprocess
import sys
import threading

from cli import environment, golf, golf_json

from golf.artifact import open_artifact

UNTUNED = ("--set", "pack.tune_tokens=0")


def test_the_second_of_two_packs_leaves_at_once(trained):
    held = """
import sys, time
from pathlib import Path
from golf.run.folder import Run, lock
with lock(Run(Path("artifacts/tiny"))):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", held]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment()}
    with subprocess.Popen(command, cwd=trained, **pipes) as first:
        assert first.stdout.readline() == b"held\n"
        before = (trained / "artifacts" / "tiny" / "artifact.bin").read_bytes()
        second = golf("pack", "--cap", "9kB", *UNTUNED, cwd=trained, check=2)
        first.stdin.close()
    assert str(first.pid) in second.stderr
    assert (trained / "artifacts" / "tiny" / "artifact.bin").read_bytes() == before


def test_a_file_that_is_replaced_is_read_as_one_of_the_two(trained):
    small, large = (
        golf_json("pack", "--cap", cap, *UNTUNED, "--out", f"{cap}.bin", cwd=trained)["size"] for cap in ("7kB", "9kB")
    )
    contents = [(trained / f"{cap}.bin").read_bytes() for cap in ("7kB", "9kB")]
    done = threading.Event()

    def replace():
        from golf.runtime import durable

        for turn in range(60):
            durable.write_bytes(trained / "replaced.bin", contents[turn % 2])
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    found = set()
    while not done.is_set():
        if (trained / "replaced.bin").exists():
            found.add(open_artifact(trained / "replaced.bin").size)
    thread.join()
    assert found == {small, large}
