"""Training by several processes: the number of them is not part of the result, and none survives alone."""

import json
import os
import signal
import time
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
import torch
from cli import golf, golf_process
from processes import run_in_processes

from golf.errors import EnvironmentFailure, UsageError
from golf.optim import NuMuon
from golf.run.checkpoint import load_checkpoint
from golf.runtime.processes import ALONE, Processes, explain_lost_process

STEPS = ("--set", "train.steps=8", "--set", "train.log_every=1")
# Sums are added in another order, and the optimizer makes the differences larger; sixteen steps of lr .02 on losses
# near 4 were seen to differ by 2e-4 with its products in bfloat16, which round up to 2^-9 of a step.
TOLERANCE = 2e-3


def losses(folder):
    return [json.loads(line)["train_loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def trained(workspace, name, processes, *more):
    out = workspace / name
    with golf_process("train", *STEPS, "--out", out, "--nproc", processes, *more, cwd=workspace) as process:
        said = process.stderr.read()
        assert process.wait(120) == 0, said
    return out


def test_one_and_three_processes_give_the_same_losses(workspace):
    curves = [losses(trained(workspace, f"by-{count}", count)) for count in (1, 3)]
    assert len(curves[0]) == 8
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], abs=TOLERANCE)


def test_a_run_goes_on_with_another_number_of_processes(workspace):
    whole, parts = losses(trained(workspace, "whole", 1)), workspace / "in-parts"
    with golf_process("train", *STEPS, "--out", parts, "--nproc", 2, cwd=workspace) as process:
        for line in process.stderr:
            if line.startswith("step:5/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130, rest
    assert "golf train --resume --out in-parts" in rest
    done = golf("train", "--resume", "--out", parts, cwd=workspace)
    assert "2 processes, now 1" in done.stderr
    assert losses(parts) == pytest.approx(whole, abs=TOLERANCE)


def test_when_a_process_dies_the_run_ends_and_can_go_on(workspace):
    out = workspace / "orphaned"
    endless = ("--set", "train.steps=100000", "--set", "train.log_every=1")
    with golf_process("train", *endless, "--out", out, "--nproc", 2, cwd=workspace) as process:
        for line in process.stderr:
            if line.startswith("step:20/"):
                break
        os.kill(_second_of(process.pid), signal.SIGKILL)
        started = time.monotonic()
        rest = process.stderr.read()
        assert process.wait(120) == 5, rest
        assert time.monotonic() - started < 60
    assert "another process of this run ended; the last checkpoint is kept, continue it with --resume" in rest
    assert "Traceback" not in rest
    assert load_checkpoint(out / "checkpoint.safetensors").state["step"] >= 15


def _second_of(parent):
    """The process of rank 1 among the children of `parent`."""
    children = []
    for entry in filter(lambda entry: entry.name.isdigit(), os.scandir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError):  # other processes end when they like
            stat = Path(f"/proc/{entry.name}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == parent:
                children.append(entry.name)
    for child in children:
        if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no process of rank 1 among {children}")


def test_a_recipe_error_is_told_once_with_its_exit_code(workspace):
    with golf_process("train", "--set", "optimizer.lr=-1", "--nproc", 2, cwd=workspace) as process:
        said = process.stderr.read()
        assert process.wait(60) == 2
    assert said.count("optimizer.lr") == 1


def test_fewer_rows_than_processes_are_refused():
    with pytest.raises(UsageError, match="2 sequences cannot be shared by 3 processes"):
        Processes(rank=0, count=3).rows(torch.zeros(2, 5, dtype=torch.int64).numpy())


def test_rows_are_shared_out_without_loss():
    batch = torch.arange(14).view(7, 2).numpy()
    shares = [Processes(rank=rank, count=3).rows(batch).tolist() for rank in range(3)]
    assert list(chain(*shares)) == batch.tolist()


def test_a_process_that_is_lost_in_the_optimizers_step_is_named_too():
    with pytest.raises(EnvironmentFailure, match="another process of this run ended"), explain_lost_process():
        raise ConnectionError("Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes"), explain_lost_process():
        raise RuntimeError("shapes do not match")


def test_one_process_adds_up_to_itself():
    gradient = torch.ones(3)
    assert ALONE.add_up([gradient], [1.0, 2.0]) == [1.0, 2.0]
    assert gradient.tolist() == [1, 1, 1]


def _added(rank):
    processes = Processes(rank, 2, torch.distributed.group.WORLD)
    gradients = [torch.full((2, 2), float(rank + 1)), torch.full((3,), 10.0 * rank)]
    return processes.add_up(gradients, [float(rank), 0.5]), [g.tolist() for g in gradients]


def test_gradients_and_figures_are_added_up():
    for figures, gradients in run_in_processes(_added, 2):
        assert figures == [1.0, 1.0]
        assert gradients == [[[3.0, 3.0], [3.0, 3.0]], [10.0, 10.0, 10.0]]


def _left_alone(rank):
    if rank == 1:
        return None
    group, weight = torch.distributed.group.WORLD, torch.nn.Parameter(torch.ones(4, 4))
    with pytest.raises(EnvironmentFailure, match="another process of this run ended"):
        Processes(rank, 2, group).add_up([torch.ones(2)], [])
    weight.grad = torch.ones(4, 4)
    with pytest.raises(ConnectionError):
        NuMuon([weight], lr=0.1, process_group=group).step()
    return "told"


def test_a_process_that_is_left_alone_says_so():
    assert run_in_processes(_left_alone, 2)[0] == "told"
