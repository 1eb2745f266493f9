"""One thread: the tests' tensors are too small to share, and a second core may be busy. And a run to look at."""

import signal

import pytest
import torch
from cli import golf
from hypothesis import settings

# An example may take long on a busy machine.
settings.register_profile("golf", deadline=None)
settings.load_profile("golf")
torch.set_num_threads(1)
# Whoever started the tests may ignore SIGINT, as shells do for jobs in the background; the tests' processes hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

TEXT = "\n".join(
    f"def function_{i}(argument):\n    return argument + {i * i}  # the square of {i}\n" for i in range(3000)
)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory):
    """A folder with a text, a golf.toml, and a recipe that trains in a second."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "text.txt").write_text(TEXT)
    (folder / "golf.toml").write_text('[workspace]\ndata = "cache"\nrecipe = "tiny.toml"\n')
    (folder / "tiny.toml").write_text(
        """
name = "tiny"
seed = 3
[budget]
cap = "7500"
[data]
source = "text"
path = "text.txt"
val_fraction = 0.2
[tokenizer]
kind = "bytes"
[model]
layers = 2
width = 32
heads = 2
kv_heads = 1
[optimizer]
matmul_dtype = "float32"
[train]
steps = 12
batch_tokens = 512
sequence_length = 64
log_every = 3
eval_every = 6
eval_tokens = 512
checkpoint_every = 5
[pack]
calibration_tokens = 512
tune_tokens = 4096
tune_batch_tokens = 512
quantizer = "uniform"
[verify]
tokens = 2048
"""
    )
    return folder


@pytest.fixture(scope="session")
def trained(workspace):
    """The workspace after `golf train` and `golf pack`, typed as the README says."""
    golf("train", cwd=workspace)
    golf("pack", cwd=workspace)
    return workspace


@pytest.fixture
def in_the_workspace(trained, monkeypatch):
    """The recipe of the shared run names its text relative to it."""
    monkeypatch.chdir(trained)
