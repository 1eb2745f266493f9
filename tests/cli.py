"""Run the command line as a user does: its output at 80 columns, without colour, and its exit code."""

import io
import json
import os
import subprocess
import sys
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock


@dataclass
class Done:
    """What a command left behind."""

    stdout: str
    stderr: str
    returncode: int


def golf(*arguments, cwd, check=0):
    """`golf ARGUMENTS` in `cwd`, within this process (importing torch takes longer than most commands).

    Asserts the exit code, unless `check` is None, and that no error came through as a traceback.
    """
    out, err = io.StringIO(), io.StringIO()
    from golf.cli import main

    argv = ["golf", *map(str, arguments)]
    here = (mock.patch.dict(os.environ, environment()), mock.patch.object(sys, "argv", argv))
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err), here[0], here[1]:
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            raise AssertionError(f"{' '.join(argv)}\n{traceback.format_exc()}") from None
    done = Done(out.getvalue(), err.getvalue(), code)
    assert check is None or code == check, f"exit {code}, expected {check}\n{done.stdout}\n{done.stderr}"
    return done


def golf_json(*arguments, cwd, check=0):
    """The one JSON object that `--json` prints to stdout."""
    return json.loads(golf(*arguments, "--json", cwd=cwd, check=check).stdout)


def golf_process(*arguments, cwd, threads=1):
    """A process of its own, to be signalled; its stderr is text."""
    return subprocess.Popen(
        [sys.executable, "-m", "golf", *map(str, arguments)],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"OMP_NUM_THREADS": str(threads)},
    )


def environment():
    """This process's, with one thread, 80 columns and no colour."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "NO_COLOR": "1", "PYTHONHASHSEED": "0"}
