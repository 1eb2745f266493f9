"""budget.clock: one budget of seconds for the training and for what reads its text afterwards."""

import json
import shutil
from dataclasses import replace

import pytest
from cli import golf, golf_json
from sources import encoder_of, having, opened

from golf.errors import UsageError
from golf.packing.methods import Case, Method, Methods
from golf.packing.time_budget import TimeBudget
from golf.packing.timing import (
    MARGIN,
    affordable_methods,
    calibration_tokens,
    fine_tuning_seconds,
    measurements,
    reserve,
    time_budget_of,
)
from golf.run.checkpoint import load_checkpoint, save_checkpoint
from golf.run.log_lines import parse_log
from golf.runtime.observer import Observer

pytestmark = pytest.mark.usefixtures("in_the_workspace")


@pytest.fixture
def clocked(trained):
    """The tiny run as if its training had taken `spent` of 600 seconds, all of which are counted."""
    notes = []

    def of(spent, **pack):
        run = opened(trained, observer=Observer(note=notes.append))
        recipe = run.inputs.recipe
        changed = recipe.model_copy(
            update={
                "budget": recipe.budget.model_copy(update={"clock": "calibration"}),
                "train": recipe.train.model_copy(update={"max_seconds": 600.0}),
                "pack": recipe.pack.model_copy(update=pack),
            }
        )
        return having(run, recipe=changed, training_seconds=spent)

    of.notes = notes
    return of


@pytest.fixture
def paces(monkeypatch):
    """A batch of calibration or of fine-tuning takes a second here, and so does a measurement."""
    for use in ("calibration", "measurement", "fine_tuning"):
        monkeypatch.setattr(f"golf.packing.timing.{use}_seconds", lambda *_: 1 / MARGIN)


def planned(run, byte_budget=6_000, matrices=()):
    """The methods that the clock of `run` allows, and its tokens of calibration."""
    run = replace(run, time_budget=time_budget_of(run.inputs, run.windows))
    tokens = calibration_tokens(run.inputs, run.windows, run.time_budget)
    case = Case.of(run.inputs, byte_budget)
    return tokens, affordable_methods(
        run.inputs.recipe.pack, case, run.inputs, run.windows, run.time_budget, list(matrices)
    )


TUNED, TRELLIS = "uniform + fine-tuning", "trellis"
PACK = {"calibration_tokens": 65_536, "tune_tokens": 32_768, "tune_batch_tokens": 512, "quantizer": "auto"}


def test_with_time_enough_everything_is_read(clocked, paces):
    tokens, plan = planned(clocked(500.0, **PACK))
    assert (tokens, plan.tokens) == (65_536, 32_768)
    assert [method.name for method in plan.tried] == [TUNED]


def test_with_less_time_less_is_read(clocked, paces):
    """Nine and a half seconds: eight batches and a measurement, or seven and the two that fine-tuning takes."""
    tokens, plan = planned(clocked(590.5, **PACK))
    assert (tokens, plan.tokens) == (8 * 4096, 7 * 512)
    assert [method.name for method in plan.tried] == [TUNED]


def test_a_pack_in_a_hurry_tunes_nothing(clocked, paces):
    tokens, plan = planned(clocked(598.0, **PACK))
    assert tokens == 4096
    assert plan.tried[0].name == TRELLIS
    assert TUNED in {each.name for each in plan.skipped}


def test_methods_that_cannot_be_measured_in_time_are_left_out_with_that_reason(clocked, monkeypatch):
    run = replace(clocked(0.0, **PACK), time_budget=TimeBudget(2.5))
    run.time_budget.expected["looks"] = 1.0
    monkeypatch.setattr("golf.packing.timing.fine_tuning_seconds", lambda *_: 1e-9)
    both = Methods((Method("uniform", "off", fine_tune=True), Method("trellis", "off")), {}, 512, 0.5)
    monkeypatch.setattr("golf.packing.timing.methods", lambda *_: both)
    plan = affordable_methods(
        run.inputs.recipe.pack, Case.of(run.inputs, 6_000), run.inputs, run.windows, run.time_budget, []
    )
    assert measurements(plan.tried) == 2
    assert plan.skipped == {Method("trellis", "off"): "the clock leaves no time to measure it"}


def test_cut_tokens_are_said(clocked, paces):
    run = clocked(590.5, **PACK)
    run = replace(run, time_budget=time_budget_of(run.inputs, run.windows))
    encoder_of(run)
    assert "pack.calibration_tokens = 65,536 is cut to 32,768: the training left 9.5 s" in clocked.notes[0]


@pytest.mark.parametrize(("spent", "left"), [(600.0, "no time"), (700.0, "no time"), (598.5, "1.5 s, too little")])
def test_without_time_nothing_is_packed(clocked, paces, spent, left):
    with pytest.raises(UsageError, match=left) as caught:
        planned(clocked(spent))
    assert "--set budget.clock=training" in str(caught.value)


def test_a_training_that_is_bounded_alone_bounds_no_pack(clocked):
    run = clocked(700.0)
    budget = run.inputs.recipe.budget.model_copy(update={"clock": "training"})
    run = having(run, recipe=run.inputs.recipe.model_copy(update={"budget": budget}))
    assert not time_budget_of(run.inputs, run.windows).limited
    assert planned(run)[0] == run.inputs.recipe.pack.calibration_tokens


class NoText:
    """A text of which nothing may be read."""

    train = range(10**6)


def reserved(run):
    inputs = run.inputs
    return reserve(inputs.recipe, inputs.model, NoText, inputs.device, run.observer)


def test_tokens_that_golf_chooses_take_at_most_an_eighth_of_the_seconds(clocked, monkeypatch):
    run = clocked(0.0, tune_tokens="auto", tune_batch_tokens=512)
    monkeypatch.setattr("golf.packing.timing.fine_tuning_seconds", lambda *_: 0.0)
    without = reserved(run)
    monkeypatch.setattr("golf.packing.timing.fine_tuning_seconds", lambda *_: 1e3)
    assert reserved(run) - without == pytest.approx(MARGIN * 600 / 8, rel=0.2)
    with pytest.raises(UsageError, match="fine-tuning take about"):
        reserved(clocked(0.0, tune_tokens=2048, tune_batch_tokens=512))


def test_finding_out_how_long_it_takes_reads_no_training_text(clocked):
    run = clocked(0.0, tune_tokens=2048, tune_batch_tokens=512)
    assert 0 < reserved(run) < 600
    limited = time_budget_of(having(run, data=NoText).inputs, replace(run.windows, stream=None))
    assert all(limited.expected[use] > 0 for use in ("calibration", "looks"))
    assert sum(limited.spent.values()) == 0


def test_a_reserve_counts_every_batch_and_measurement_of_the_methods_that_will_be_tried(clocked, paces):
    tuned = {"tune_tokens": 7 * 512, "tune_batch_tokens": 512, "calibration_tokens": 5 * 4096, "low_rank": "off"}
    assert reserved(clocked(0.0, quantizer="uniform", **tuned)) == pytest.approx(5 + 7 + 2)
    assert reserved(clocked(0.0, quantizer="trellis", **tuned)) == pytest.approx(5 + 1)
    untuned = {"tune_tokens": 0, "calibration_tokens": 4096, "low_rank": "off"}
    assert reserved(clocked(0.0, quantizer="uniform", **untuned)) == pytest.approx(1 + 1)


def test_reading_stops_where_the_next_batch_would_end_too_late():
    time_budget = TimeBudget(10.0)
    time_budget.expected |= {"calibration": 1.0, "looks": 3.0}
    read = 0
    for _ in time_budget.in_time(iter(range(40)), "calibration"):
        time_budget.spent["calibration"] += 2.0  # twice as slow as expected
        read += 1
    assert read == 4  # two seconds are left, which is no time for a batch and a measurement


def test_a_pack_takes_its_batches_and_measurements_from_its_time_budget(clocked):
    run = replace(clocked(0.0, tune_tokens=2048, tune_batch_tokens=512), time_budget=TimeBudget(1e6))
    encoder = encoder_of(run)
    run.best(encoder, 6_500)
    assert all(seconds > 0 for seconds in run.time_budget.spent.values())
    plain = Method("uniform", "off", fine_tune=True)
    assert fine_tuning_seconds(run.inputs.model, run.inputs.recipe.pack, run.windows, encoder.matrices, plain) > 0


CLOCK = ("--set", "budget.clock=calibration")
FREE = ("--set", "budget.clock=training", "--set", "pack.tune_tokens=0")


def test_training_and_pack_share_one_budget_of_seconds(workspace):
    """What is counted is what was spent; the training leaves what it reserved."""
    out, limit = workspace / "clocked", 600
    settings = (f"train.max_seconds={limit}", "pack.calibration_tokens=4096", "pack.tune_tokens=2048")
    given = [word for setting in settings for word in ("--set", setting)]
    result = golf_json("train", *CLOCK, *given, "--out", out, cwd=workspace)
    assert 0 < result["reserved_seconds"] < limit
    before = (out / "checkpoint.safetensors").read_bytes()
    assert "left to packing" in golf("train", "--resume", "--out", out, cwd=workspace).stdout
    assert load_checkpoint(out / "checkpoint.safetensors").state["step"] == result["steps"]
    (out / "checkpoint.safetensors").write_bytes(before)
    done = golf("pack", out, cwd=workspace)
    assert "training stopped" not in done.stderr
    clock = json.loads((out / "ledger.json").read_text())["clock"]
    used = [clock[use] for use in ("training", "calibration", "tuning", "looks")]
    assert clock["training"] == pytest.approx(result["seconds"], abs=0.01)
    assert clock["counted"] == pytest.approx(sum(used), abs=0.01)
    assert clock["within"] == (clock["counted"] <= limit)
    golf("verify", out / "artifact.bin", cwd=workspace)
    outside = golf_json("pack", out, *FREE, "--out", "free.bin", cwd=workspace)["clock"]
    assert outside["counted"] == outside["training"]


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
    assert "calibration and fine-tuning take about" in done.stderr
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
