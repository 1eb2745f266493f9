"""Checkpoints whose digest is right and whose content is not: exit code 4 and a sentence, never a traceback."""

import copy
import itertools
import os
import random
import shutil

import pytest
import torch
from cli import golf

from golf.run.checkpoint import load_checkpoint, save_checkpoint

VALUES = [
    None, True, False, -1, 0, 1, 2**31, 2**63, 2**64, -(2**70), 10**30, 0.5, -0.5, 1e308, "", "x", "\x1b[2J", "1",
    "é" * 1000, [], [1], [[]], {}, {"x": 1}, {"steps": None},
]  # fmt: skip
COMMANDS = (
    ("pack", "run", "--out", "x.bin"),
    ("evaluate", "run", "--tokens", "65"),
    ("train", "--resume", "--out", "run"),
)


@pytest.fixture(scope="module")
def stopped(workspace, tmp_path_factory):
    """A run with steps left to do."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("text.txt", "golf.toml"):
        shutil.copy(workspace / name, folder / name)
    settings = ("--set", "train.steps=4", "--set", "train.checkpoint_every=2", "--set", "pack.tune_tokens=0")
    golf("train", workspace / "tiny.toml", *settings, "--out", "run", cwd=folder)
    checkpoint = load_checkpoint(folder / "run" / "checkpoint.safetensors")
    state = dict(checkpoint.state) | {"step": 2}
    return folder, dict(checkpoint.tensors), state


def places(state, path=()):
    """Every place of a nested state."""
    for key, value in state.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def changed(state, place, value):
    state = copy.deepcopy(state)
    inner = state
    for key in place[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return state


def judge(stopped, tensors, state, command):
    """The exit code of a command on a run with this content; only 0, 2 and 4 are answers."""
    folder = stopped[0]
    run = folder / "run"
    for path in run.glob("checkpoint*"):
        path.unlink()
    save_checkpoint(run / "checkpoint.safetensors", tensors, state)
    done = golf(*command, cwd=folder, check=None)  # which fails where a traceback comes through
    assert done.returncode in (0, 2, 4), done
    assert done.returncode == 0 or done.stderr.splitlines()[-1].startswith("error: "), done
    return done


def test_values_of_wrong_types_and_extremes(stopped):
    """GOLF_STATES=400 tries as many; every place of the state is tried in every command, in turn."""
    _, tensors, state = stopped
    tries = [*itertools.product(places(state), [KeyError, *VALUES], COMMANDS)]
    random.Random(0).shuffle(tries)
    first = [(("recipe",), None, COMMANDS[0]), (("step",), "x", COMMANDS[2]), (("text",), None, COMMANDS[2])]
    for place, value, command in first + tries[: int(os.environ.get("GOLF_STATES", "40"))]:
        done = judge(stopped, tensors, changed(state, place, value), command)
        if place in (("recipe",), ("step",), ("text",)) and not isinstance(value, (int, str)):
            assert done.returncode == 4, (place, value, done)


def tensors_of(kind):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(kind)}


def with_first(kind, change):
    def changed(tensors):
        name = next(
            k for k in tensors if k.startswith(kind) and tensors[k].is_floating_point() and tensors[k].ndim == 2
        )
        return tensors | {name: change(tensors[name])}

    return changed


@pytest.mark.parametrize(
    "change",
    [
        tensors_of("optimizer."),
        tensors_of("model."),
        tensors_of("tokenizer"),
        lambda tensors: {},
        with_first("optimizer.", lambda t: t[:1]),
        with_first("optimizer.", lambda t: t.T.contiguous()),
        with_first("optimizer.", lambda t: t * torch.nan),
        with_first("optimizer.", lambda t: t + torch.inf),
        with_first("optimizer.", lambda t: t.to(torch.int64)),
        with_first("model.", lambda t: t[:1]),
        with_first("model.", lambda t: t * torch.nan),
        with_first("model.", lambda t: t.to(torch.uint8)),
        lambda tensors: tensors | {"optimizer.unknown": torch.zeros(3)},
        lambda tensors: tensors | {"tokenizer": torch.zeros(3, dtype=torch.float32)},
    ],
)
@pytest.mark.parametrize("command", COMMANDS[1:], ids=lambda command: command[0])
def test_tensors_that_are_missing_misshapen_or_not_finite(stopped, change, command):
    _, tensors, state = stopped
    done = judge(stopped, change(tensors), state, command)
    damaged = done.returncode == 4
    touched = {k for k, v in change(tensors).items() if k not in tensors or not torch.equal(v, tensors[k])}
    missing = tensors.keys() - change(tensors).keys()
    if command[0] == "train" and any(k.startswith(("optimizer.", "model.")) for k in touched | missing):
        assert damaged or done.returncode == 2 or "optimizer.unknown" in touched, done
