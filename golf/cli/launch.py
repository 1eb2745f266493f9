"""Start the processes of one run on this machine, as torchrun does, and end them together."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType

from golf.runtime.interrupt import SIGNALS

# Seconds that the other processes have to save after one has failed, before they are killed.
_PATIENCE = 60.0
_POLL = 0.05
# A process that a signal killed counts as a failure of the machine.
_KILLED = 5


def launch(count: int) -> int:
    """Run the present command in `count` processes of one process group; return the exit code of the run.

    The code is that of the first process to fail. When one fails the others are asked to stop, since they cannot
    continue without it. Threads are divided between the processes, unless OMP_NUM_THREADS is set.
    """
    arguments = _without_nproc(sys.argv[1:])
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count))),
    }
    with ExitStack() as stack:
        said = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "golf", *arguments],
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=None if rank == 0 else subprocess.DEVNULL,
                stderr=None if rank == 0 else said[rank],
                # a terminal's Ctrl-C reaches the launcher alone, which forwards it once
                start_new_session=True,
            )
            for rank in range(count)
        ]
        stack.callback(_kill, started)
        for number in (each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN):
            stack.callback(signal.signal, number, signal.signal(number, _passing_on(started)))
        failed = _wait(started)
        if failed is None:
            return 0
        if failed:  # the first process has printed its own error
            said[failed].seek(0)
            sys.stderr.write(said[failed].read().decode(errors="replace"))
        code = started[failed].returncode
        return code if code >= 0 else _KILLED


def _wait(started: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all processes; when one fails ask the others to stop. Return the index of the first to fail."""
    guilty, deadline = None, math.inf
    while any(process.poll() is None for process in started) and time.monotonic() < deadline:
        if guilty is None:
            guilty = next((i for i, process in enumerate(started) if process.returncode), None)
            if guilty is not None:
                deadline = time.monotonic() + _PATIENCE
                _passing_on(started)(signal.SIGTERM, None)
        time.sleep(_POLL)
    return next((i for i, process in enumerate(started) if process.returncode), None) if guilty is None else guilty


def _kill(started: list[subprocess.Popen[bytes]]) -> None:
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()


def _passing_on(started: list[subprocess.Popen[bytes]]) -> Callable[[int, FrameType | None], None]:
    def receive(number: int, _frame: FrameType | None) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    return receive


def _without_nproc(arguments: list[str]) -> list[str]:
    """The command line without its --nproc."""
    kept, skips = [], False
    for argument in arguments:
        if not skips and argument != "--nproc" and not argument.startswith("--nproc="):
            kept.append(argument)
        skips = argument == "--nproc"
    return kept


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
