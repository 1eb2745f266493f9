"""Run the command line as a user does: a process, its output at 80 columns, without colour."""

import json
import os
import subprocess
import sys


def golf(*arguments, cwd, check=0, timeout=200):
    """Run `golf ARGUMENTS` in `cwd`; asserts the exit code, and that no traceback was shown."""
    done = subprocess.run(
        [sys.executable, "-m", "golf", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(),
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == check, f"exit {done.returncode}, expected {check}\n{done.stdout}\n{done.stderr}"
    return done


def golf_json(*arguments, cwd, check=0):
    """The one JSON object that `--json` prints to stdout."""
    return json.loads(golf(*arguments, "--json", cwd=cwd, check=check).stdout)


def environment():
    """This process's, with one thread, 80 columns and no colour."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80", "NO_COLOR": "1", "PYTHONHASHSEED": "0"}
