"""The live line: a bar and the time left at any width, and figures as far as they fit."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from cli import environment, golf

from golf.cli.progress import fitted, parts_of

RECORD = {
    "step": 120, "train_loss": 2.4012, "val_loss": 2.39, "val_bpb": 3.5211, "predicted_bytes": 22_312, "cap": 60_000,
    "predicted_gap": 0.0312, "tokens_per_s": 18_159, "rate_penalty": 0.018,
}  # fmt: skip


def test_figures_are_dropped_from_the_right():
    parts = parts_of(RECORD)
    assert parts[:3] == ["loss 2.401", "bpb 3.521", "packs 22.3/60.0 kB"]
    assert fitted(parts, 200) == "  ".join(parts)
    assert fitted(parts, 42) == "loss 2.401  bpb 3.521  packs 22.3/60.0 kB"
    assert fitted(parts, 40) == "loss 2.401  bpb 3.521"
    assert fitted(parts, 5) == ""
    assert parts_of(RECORD | {"predicted_bytes": 15_900_000, "cap": 16_000_000})[2] == "packs 15.90/16.00 MB"


@pytest.mark.parametrize("width", [50, 120])
def test_bar_and_time_left_are_seen_at_any_width(workspace, tmp_path, width):
    controller, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 30, width, 0, 0))
    variables = {k: v for k, v in environment().items() if k not in ("NO_COLOR", "COLUMNS")} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "golf", "train", "tiny.toml", "--out", tmp_path / "run"]
    process = subprocess.Popen(command, cwd=workspace, env=variables, stdout=subprocess.DEVNULL, stderr=end)
    os.close(end)
    written = b""
    while part := _read(controller):
        written += part
    assert process.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode())
    lines = [line for line in re.split(r"[\r\n]+", plain) if line.strip()]
    steps = [line for line in lines if line.startswith("train ")]
    assert steps and all("━" in line and ":" in line and "loss" in line for line in steps)
    assert all(len(line.rstrip()) <= width for line in steps)
    assert ("tok/s" in steps[-1]) == (width == 120)
    if width > 50:  # the last validation figures stay between looks
        assert "bpb" in steps[-1] and "packs" in steps[-1]
    assert [line for line in lines if line.startswith("step 12/12  val_loss")]


def _read(controller):
    try:
        return os.read(controller, 65536)
    except OSError:  # Linux: the other end was closed
        return b""


def test_a_piped_log_has_the_time_left(workspace, tmp_path):
    done = golf("train", "tiny.toml", "--out", tmp_path / "run", cwd=workspace)
    found = re.findall(r"step:(\d+)/12 .* eta:(\d+)s", done.stderr)
    assert [int(step) for step, _ in found] == [1, 3, 6, 9, 12]
    assert found[-1][1] == "0"
