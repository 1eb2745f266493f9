"""A checkpoint of golf 0.1.0 must resume and pack for ever.

It holds step 3 of 6 of tests/golden/checkpoint.toml, with averaged weights, and lacks the key `matmul_dtype`.
"""

import json
import shutil
from pathlib import Path

import pytest
from cli import golf, golf_json

from golf.run.checkpoint import load_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture
def folder(tmp_path):
    """A folder with the text where the recipe names it, and the run."""
    for name, parent in (("text.txt", "tests/golden"), ("checkpoint.safetensors", "run")):
        (tmp_path / parent).mkdir(parents=True)
        shutil.copy(GOLDEN / name, tmp_path / parent)
    return tmp_path


def test_it_resumes_to_its_last_step(folder):
    before = load_checkpoint(folder / "run/checkpoint.safetensors")
    assert before.state["step"] == 3
    assert "matmul_dtype" not in before.state
    golf("train", GOLDEN / "checkpoint.toml", "--resume", "--out", "run", cwd=folder)
    after = load_checkpoint(folder / "run/checkpoint.safetensors")
    assert after.state["step"] == 6
    assert after.state["matmul_dtype"] in ("float32", "bfloat16")
    assert set(after.tensors) >= {name for name in before.tensors if name.startswith(("model.", "average."))}
    steps = [json.loads(line)["step"] for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert {4, 5, 6} <= set(steps)


def test_it_packs_and_the_pack_verifies(folder):
    packed = golf_json("pack", "run", "--out", "packed.bin", cwd=folder)
    assert packed["size"] <= 8_000
    assert golf_json("verify", "packed.bin", "--data", "tests/golden/text.txt", cwd=folder)["passed"]
