"""budget.clock: one budget of seconds for the training and for what reads its text afterwards."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from cli import golf, golf_json

from golf.compress.rate_search import Solution
from golf.errors import UsageError
from golf.packing.inputs import CALIBRATION, load_source
from golf.packing.pack import make_draft
from golf.packing.search import Fit, fit, training_gap
from golf.packing.time_budget import Allowance
from golf.packing.timing import (
    MARGIN,
    calibration_tokens,
    looks_of,
    on_the_clock,
    reserved_seconds,
    tuning_seconds,
    tuning_tokens,
)
from golf.run.checkpoint import load_checkpoint, save_checkpoint
from golf.run.folder import Run
from golf.run.log_lines import parse_log
from golf.runtime.interrupt import listening
from golf.runtime.observer import Observer

pytestmark = pytest.mark.usefixtures("in_the_workspace")


@pytest.fixture
def clocked(trained):
    """The tiny run as if its training had taken `spent` of 600 seconds, all of which are counted."""
    notes = []

    def source_of(spent, **pack):
        with listening() as stop:
            source = load_source(
                Run(trained / "artifacts" / "tiny"), cache=trained / "cache", device=torch.device("cpu"), stop=stop,
                observer=Observer(note=notes.append), budget={}, settings=[],
            )  # fmt: skip
        recipe = source.recipe
        changed = recipe.model_copy(
            update={
                "budget": recipe.budget.model_copy(update={"clock": "calibration"}),
                "train": recipe.train.model_copy(update={"max_seconds": 600.0}),
                "pack": recipe.pack.model_copy(update=pack),
            }
        )
        return replace(source, recipe=changed, trained=spent)

    source_of.notes = notes
    return source_of


@pytest.fixture
def paces(monkeypatch):
    """A batch of calibration or tuning takes a second here, and so does a look."""
    for use in ("calibration", "look", "tuning"):
        monkeypatch.setattr(f"golf.packing.timing.{use}_seconds", lambda *_: 1 / MARGIN)


def test_with_time_enough_everything_is_read(clocked, paces):
    source = on_the_clock(clocked(500.0, calibration_tokens=65_536, tune_tokens=32_768, tune_batch_tokens=512))
    assert source.allowance.left == pytest.approx(100.0)
    assert calibration_tokens(source) == 65_536
    assert tuning_tokens(source, [], 1.0) == 32_768
    assert clocked.notes == []


def test_with_less_time_less_is_read_and_said(clocked, paces):
    """Nine and a half seconds: eight batches and a look, or five and the four looks that follow tuning."""
    pack = {"calibration_tokens": 65_536, "tune_tokens": 32_768, "tune_batch_tokens": 512, "quantizer": "auto"}
    source = on_the_clock(clocked(590.5, **pack))
    assert calibration_tokens(source) == 8 * 4096
    assert tuning_tokens(source, [], 1.0) == 5 * 512
    assert "pack.calibration_tokens = 65,536 is cut to 32,768: the training left 9.5 s" in clocked.notes[0]
    assert "pack.tune_tokens = 32,768 is cut to 2,560" in clocked.notes[1]


@pytest.mark.parametrize(("spent", "left"), [(600.0, "no time"), (700.0, "no time"), (598.5, "1.5 s, too little")])
def test_without_time_nothing_is_packed(clocked, paces, spent, left):
    with pytest.raises(UsageError, match=left) as caught:
        calibration_tokens(on_the_clock(clocked(spent)))
    assert "--set budget.clock=training" in str(caught.value)


def test_a_training_that_is_bounded_alone_bounds_no_pack(clocked):
    source = clocked(700.0)
    budget = source.recipe.budget.model_copy(update={"clock": "training"})
    source = replace(source, recipe=source.recipe.model_copy(update={"budget": budget}))
    assert on_the_clock(source) is source
    assert not source.allowance.limited
    assert calibration_tokens(source) == source.recipe.pack.calibration_tokens


def test_finding_out_how_long_it_takes_reads_no_training_text(clocked):
    source = replace(clocked(0.0, tune_tokens=2048, tune_batch_tokens=512), data=None)
    assert 0 < reserved_seconds(source) < 600
    limited = on_the_clock(source)
    assert all(limited.allowance.expected[use] > 0 for use in ("calibration", "looks"))
    assert sum(limited.allowance.spent.values()) == 0


def test_a_reserve_counts_every_batch_and_look(clocked, paces):
    """Both ways to round, with factors and without and filled; what was tuned."""
    tuned = {"tune_tokens": 7 * 512, "tune_batch_tokens": 512, "low_rank": "auto"}
    assert reserved_seconds(clocked(0.0, calibration_tokens=5 * 4096, quantizer="auto", **tuned)) == pytest.approx(
        5 + 7 + 7
    )
    assert reserved_seconds(clocked(0.0, calibration_tokens=4096, quantizer="uniform", **tuned)) == pytest.approx(
        1 + 7 + 4
    )
    assert reserved_seconds(clocked(0.0, calibration_tokens=4096, quantizer="trellis", **tuned)) == pytest.approx(1 + 3)
    untuned = {"tune_tokens": 0, "low_rank": "off", "quantizer": "auto"}
    assert reserved_seconds(clocked(0.0, calibration_tokens=4096, **untuned)) == pytest.approx(1 + 3)


LOOKED_AT = [  # quantizer, low_rank, tokens of tuning; looks in all, and those behind tuning
    ("auto", "auto", 2048, 7, 4), ("auto", "off", 2048, 5, 3), ("auto", "auto", 0, 5, 0), ("auto", "off", 0, 3, 0),
    ("uniform", "auto", 2048, 4, 1), ("uniform", "off", 2048, 3, 1), ("uniform", "auto", 0, 3, 0),
    ("trellis", "auto", 2048, 3, 0), ("trellis", "off", 0, 2, 0),
]  # fmt: skip


@pytest.mark.parametrize(("quantizer", "low_rank", "tokens", "all_of_them", "behind"), LOOKED_AT)
def test_a_pack_whose_cap_binds_takes_the_looks_that_are_reserved(
    clocked, eager, monkeypatch, quantizer, low_rank, tokens, all_of_them, behind
):
    """With factors everywhere, packs that leave room to fill, and tuning that a trellis may still beat."""
    source = clocked(0.0, quantizer=quantizer, low_rank=low_rank, target_gap=1e-9, tune_tokens=tokens)
    looks, solved = [], SimpleNamespace(ranks=[1])

    def solve(draft, room, finest, *, rough=False):
        return Solution(1.0, room - 100 if rough else room, solved, 1, binding=True)

    def look(*_):
        looks.append(False)
        return 0.9

    tuned = Fit("tuned", Solution(1.0, 5_000, solved, 1, binding=True), 0.9)
    monkeypatch.setattr("golf.packing.search._solve", solve)
    monkeypatch.setattr("golf.packing.search.training_gap", look)
    monkeypatch.setattr("golf.packing.search._tuned_fit", lambda *_: looks.append(True) or tuned)
    draft = make_draft(source, source.prepared(), source.score(source.model))
    fit(draft, source, room=5_000)
    assert len(looks) == looks_of(source.recipe.pack) == all_of_them
    if behind:
        assert len(looks) - looks.index(True) == looks_of(source.recipe.pack, behind_tuning=True) == behind


def test_reading_stops_where_the_next_batch_would_end_too_late(clocked):
    source = replace(clocked(0.0), allowance=Allowance(10.0))
    source.allowance.expected |= {"calibration": 1.0, "looks": 3.0}
    seen = 0
    for _ in source.in_time(source.windows(40 * 64, batch_tokens=64, purpose=CALIBRATION), "calibration"):
        source.allowance.spent["calibration"] += 2.0  # twice as slow as expected
        seen += 1
    assert seen == 4  # two seconds are left, which is no time for a batch and a look


@pytest.fixture
def eager(monkeypatch):
    """Tuning is always tried: a model of 12 steps gains by losing weights, so that it would not seem to pay."""
    monkeypatch.setattr("golf.packing.search._LEAST_SIGNAL", -1e9)


def test_a_pack_takes_its_batches_and_looks_from_its_allowance(clocked, eager):
    source = clocked(0.0, tune_tokens=2048, tune_batch_tokens=512)
    source = replace(source, allowance=Allowance(1e6))
    draft = make_draft(source, source.prepared(), source.score(source.model))
    fit(draft, source, room=6_500)
    assert all(seconds > 0 for seconds in source.allowance.spent.values())
    assert tuning_seconds(source, draft.prepared, 0.1) > 0


def test_a_pack_in_a_hurry_tries_and_tunes_nothing_more(clocked, eager, monkeypatch):
    source = clocked(0.0, tune_tokens=2048, tune_batch_tokens=512, quantizer="auto")
    draft = make_draft(source, source.prepared(), source.score(source.model))
    hurried = replace(source, allowance=Allowance(1e6))
    hurried.allowance.expected["looks"] = 1e6  # after the first one there is no time for another
    looks = []
    monkeypatch.setattr("golf.packing.search.training_gap", lambda *given: looks.append(1) or training_gap(*given))
    found = fit(draft, hurried, room=6_500)
    assert found.rounded_gap is None
    assert len(looks) == 1
    assert found.solution.packed.coded[0].states  # the better of two ways to round
    assert hurried.allowance.spent["tuning"] == 0


CLOCK = ("--set", "budget.clock=calibration")
FREE = ("--set", "budget.clock=training", "--set", "pack.tune_tokens=0")


def test_the_whole_run_stays_within_its_seconds(workspace):
    """The training leaves time, and the pack keeps to it, whatever else the machine does."""
    out = workspace / "clocked"
    limit = 9
    settings = (
        "train.steps=1000000", f"train.max_seconds={limit}", "train.eval_every=1000000",
        "train.checkpoint_every=1000000", "pack.calibration_tokens=4096", "pack.tune_tokens=16384",
    )  # fmt: skip
    given = [word for setting in settings for word in ("--set", setting)]
    result = golf_json("train", *CLOCK, *given, "--out", out, cwd=workspace)
    assert result["reserved_seconds"] > 0.1
    # the last step may be slow on a busy machine
    assert limit / 3 < result["seconds"] < limit - result["reserved_seconds"] + 2
    before = (out / "checkpoint.safetensors").read_bytes()
    assert "left to packing" in golf("train", "--resume", "--out", out, cwd=workspace).stdout
    assert load_checkpoint(out / "checkpoint.safetensors").state["step"] == result["steps"]
    (out / "checkpoint.safetensors").write_bytes(before)
    done = golf("pack", out, cwd=workspace)
    assert "training stopped" not in done.stderr
    clock = json.loads((out / "ledger.json").read_text())["clock"]
    used = [clock[use] for use in ("training", "calibration", "tuning", "looks")]
    assert all(used)
    assert clock["counted"] == pytest.approx(sum(used), abs=0.01)
    # a machine that is twice as busy as when it was timed overruns a little, and says so
    assert clock["within"] == (clock["counted"] <= limit)
    assert clock["counted"] <= 1.25 * limit
    golf("verify", out / "artifact.bin", cwd=workspace)
    outside = golf_json("pack", out, *FREE, "--out", "free.bin", cwd=workspace)["clock"]
    assert outside["counted"] == outside["training"] and outside["within"]


def test_the_clock_is_in_the_logs_that_check_reads(trained, tmp_path):
    copy, run = tmp_path / "copy", "artifacts/tiny"  # whose artifact other tests do not look at
    shutil.copytree(trained, copy)
    golf("pack", run, "--cap", "1MB", "--code-bytes", "auto", cwd=copy)
    golf("export", run, "--out", "folder", cwd=copy)
    stages = parse_log((copy / "folder" / "train_seed3.log").read_text()).stages
    clock = json.loads((copy / run / "ledger.json").read_text())["clock"]
    for stage in ("calibration", "tuning", "looks", "packing"):
        assert stages[stage] == pytest.approx(clock[stage], abs=1e-3)
    assert (clock["max_seconds"], clock["within"]) == (None, None)


def test_a_pack_that_leaves_no_training_is_refused_before_anything_is_lost(workspace):
    out = workspace / "hasty"
    golf("train", "--out", out, cwd=workspace)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    given = (*CLOCK, "--set", "train.max_seconds=0.01", "--out", out, "--force")
    done = golf("train", *given, cwd=workspace, check=2)
    assert "calibration and tuning take about" in done.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_clock_needs_seconds(workspace):
    done = golf("train", *CLOCK, cwd=workspace, check=2)
    assert 'budget.clock = "calibration" needs train.max_seconds' in done.stderr


def test_checkpoints_from_before_the_clock_pack(trained, tmp_path):
    old = load_checkpoint(trained / "artifacts" / "tiny" / "checkpoint.safetensors")
    state = {key: value for key, value in old.state.items() if key not in ("reserved", "elapsed")}
    state["recipe"] = {**state["recipe"], "budget": {"cap": 7500, "code_bytes": 0, "max_bpb": None}}
    save_checkpoint(tmp_path / "old" / "checkpoint.safetensors", old.tensors, state)
    clock = golf_json("pack", tmp_path / "old", "--set", "pack.tune_tokens=0", cwd=trained)["clock"]
    assert (clock["training"], clock["counted"], clock["within"]) == (None, None, None)
