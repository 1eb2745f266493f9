"""kill -9 at random times: the newest checkpoint always loads, and no half file ever has a final name."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import golf
from golf.run.checkpoint import NEWEST, load_checkpoint, load_latest, previous_of
from golf.run.folder import Run, append_metrics, lock, read_metrics, truncate_metrics
from golf.runtime import durable

# More of them, some of which surely hit a write, are of the second tier.
KILLS = int(os.environ.get("GOLF_KILLS", "8"))
# Imports torch once; then, for every line that it is sent, forks a process that takes the lock of the run and saves
# checkpoint after checkpoint until it is killed. It prints each step that `save_checkpoint` has promised to keep.
SAVERS = """
import os, sys
from pathlib import Path
import torch
from golf.run.checkpoint import save_checkpoint
from golf.run.folder import Run, append_metrics, lock

torch.set_num_threads(1)
run = Run(Path(sys.argv[1]))
sizes = (300_000, 7, 20_000, 1)

def save_for_ever(step):
    with lock(run):
        while True:
            step += 1
            tensors = {f"model.{n}": torch.full((size,), float(step)) for n, size in enumerate(sizes)}
            save_checkpoint(run.checkpoint, tensors, {"step": step})
            append_metrics(run.metrics, {"step": step, "loss": 1 / step})
            print("saved", step, flush=True)

print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        save_for_ever(int(line))
    print("pid", child, flush=True)
    os.waitpid(child, 0)
    print("dead", child, flush=True)
"""


class Savers:
    """The process that forks savers, and the pipe to it."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(Path(golf.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SAVERS, str(folder)]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline() == "ready\n"

    def kill_one(self, step: int, *, after: float) -> int:
        """Start a saver that goes on after `step`, kill it `after` its first save, and tell the last step promised."""
        self.process.stdin.write(f"{step}\n")
        self.process.stdin.flush()
        pid = 0
        for word, number in map(str.split, self.process.stdout):
            if word == "dead":
                return step
            if word == "pid":
                pid = int(number)
            elif word == "saved":
                step = int(number)
            if pid and word == "saved" and after >= 0:
                time.sleep(after)
                os.kill(pid, signal.SIGKILL)
                after = -1
        pytest.fail("the savers died")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def savers(tmp_path: Path) -> Iterator[Savers]:
    savers = Savers(tmp_path)
    yield savers
    savers.close()


def test_a_run_survives_being_killed_again_and_again(tmp_path, savers):
    chance, run, step, strays = random.Random(0), Run(tmp_path), 0, 0
    for _ in range(KILLS):
        promised = savers.kill_one(step, after=chance.uniform(0, 0.03))
        checkpoint, note = load_latest(tmp_path)
        step = checkpoint.state["step"]
        assert note is None
        assert promised <= step <= promised + 1
        assert all(bool((tensor == step).all()) for tensor in checkpoint.tensors.values())
        if previous_of(run.checkpoint).exists():
            assert load_checkpoint(previous_of(run.checkpoint)).state["step"] in (step - 1, step - 2)
        named = {path.name for path in tmp_path.iterdir()}
        finals = {NEWEST, "checkpoint.previous.safetensors", "metrics.jsonl", ".lock", ".lock.owner"}
        assert all(name.startswith(".golf-partial-") for name in named - finals)
        strays += len(named - finals)
        with lock(run):  # the next start: the dead process's lock and strays are in nobody's way
            assert not list(tmp_path.glob(f"{durable._PREFIX}*"))
        truncate_metrics(run.metrics, step)
        recorded = [record["step"] for record in read_metrics(run.metrics)]
        assert recorded == sorted(set(recorded))
        assert recorded[-1] in (step, step - 1)
        if recorded[-1] < step:
            append_metrics(run.metrics, {"step": step})
    assert strays or KILLS < 100  # of so many kills some did hit a write
