"""The state of a checkpoint: what was written comes back, and what no training leaves is refused."""

import pytest

from golf.errors import DamagedCheckpoint
from golf.run.state import RunState

STATE = RunState(step=12, recipe={"name": "x"}, text="abc", elapsed=1.5, matmul_dtype="float32", threads=2)


def test_what_was_written_comes_back():
    assert RunState.of(STATE.to_json(), source="x") == STATE
    assert "matmul_dtype" not in RunState(step=1, recipe={}, text="").to_json()


def test_files_of_older_and_newer_releases_are_read():
    assert RunState.of({"step": 1, "recipe": {}, "text": "t"}, source="x") == RunState(step=1, recipe={}, text="t")
    assert RunState.of(STATE.to_json() | {"later": 1}, source="x") == STATE


@pytest.mark.parametrize("missing", ["step", "recipe", "text"])
def test_a_key_that_every_reader_needs_is_missed(missing):
    state = {key: value for key, value in STATE.to_json().items() if key != missing}
    with pytest.raises(DamagedCheckpoint, match=f"lacks {missing}"):
        RunState.of(state, source="x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", -1), ("step", True), ("step", 1.0), ("step", "1"), ("elapsed", -1.0), ("elapsed", 10**400),
        ("threads", True), ("vocab_size", -1), ("reserved", float("nan")), ("matmul_dtype", "float16"),
        ("recipe", []), ("text", 3),
    ],
)  # fmt: skip
def test_a_value_that_no_training_leaves_is_refused(key, value):
    with pytest.raises(DamagedCheckpoint, match=f"its {key} is"):
        RunState.of(STATE.to_json() | {key: value}, source="x")
