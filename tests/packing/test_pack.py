"""Packing as a whole: the curve, the cap, and what tuning is worth."""

import json

import numpy as np
import pytest
import torch
from cli import golf, golf_json, golf_process
from sources import draft_of, source_of

from golf.compress.trellis import STATES
from golf.packing.search import fit, training_gap

pytestmark = pytest.mark.usefixtures("in_the_workspace")


@pytest.fixture(scope="module")
def curve(trained):
    return golf_json("pack", "--curve", "--points", "5", "--out", "curve/x.bin", cwd=trained)


def test_a_curve_has_a_table_a_json_and_a_picture(curve, trained):
    assert json.loads((trained / "curve" / "curve.json").read_text()) == curve
    assert (trained / "curve" / "curve.png").read_bytes().startswith(b"\x89PNG")
    sizes = [point["size"] for point in curve["points"]]
    assert sizes == sorted(set(sizes)) and len(sizes) == 5
    assert curve["smallest"] < sizes[0]
    assert not (trained / "curve" / "x.bin").exists()
    assert curve["points"][-1]["loss"] == pytest.approx(curve["float_loss"], abs=0.02)


def test_a_curve_and_a_cap_exclude_one_another(trained):
    assert "drop --cap" in golf("pack", "--curve", "--cap", "9kB", cwd=trained, check=2).stderr


@pytest.mark.parametrize(("quantizer", "caps"), [("uniform", 20), ("trellis", 3)])
def test_random_caps_are_met_within_a_twentieth_of_a_percent(trained, curve, quantizer, caps):
    """No cap needs a hand-set number; never over, and at most .05 % or what whole words leave under it."""
    rng = np.random.default_rng(0)
    low, high = curve["smallest"] + 64, curve["points"][-1]["size"]
    source = source_of(trained, "pack.tune_tokens=0", "pack.low_rank=off", f"pack.quantizer={quantizer}")
    draft = draft_of(source)
    for room in np.exp(rng.uniform(np.log(low), np.log(high), caps)).astype(int).tolist():
        size = fit(draft, source, room=room).solution.size
        assert size <= room
        assert room - size <= max(0.0005 * room, 40)


def test_tuned_packs_meet_their_caps_too_and_are_no_worse_than_rounding(trained, curve, monkeypatch):
    monkeypatch.setattr(
        "golf.packing.search._LEAST_SIGNAL", -1e9
    )  # a model of 12 steps gains by losing weights: always try
    source = source_of(trained, "pack.tune_tokens=16384", "pack.tune_batch_tokens=512")
    draft = draft_of(source)
    for share in (0.1, 0.3):
        room = round(curve["smallest"] + share * (curve["points"][-1]["size"] - curve["smallest"]))
        found = fit(draft, source, room=room)
        # a coder's whole words leave up to 40 bytes, as above
        assert room - max(0.0005 * room, 40) <= found.solution.size <= room
        assert found.rounded_gap is not None
        assert found.gap <= found.rounded_gap
        assert found.gap == pytest.approx(training_gap(found.draft, found.solution.packed, source))


def test_without_tuning_the_quantizer_with_the_lower_measured_gap_is_taken(trained, curve):
    room = round(0.5 * curve["points"][-1]["size"])
    found = {}
    for quantizer in ("auto", "trellis", "uniform"):
        source = source_of(trained, "pack.tune_tokens=0", "pack.low_rank=off", f"pack.quantizer={quantizer}")
        found[quantizer] = fit(draft_of(source), source, room=room)
    states = {
        name: {m.states for m in fitted.solution.packed.coded if m.residual is not None}
        for name, fitted in found.items()
    }
    assert states["trellis"] == {STATES}
    assert states["uniform"] == {0}
    better, worse = sorted(("trellis", "uniform"), key=lambda name: found[name].gap)
    slack = 0.1 * abs(found[better].gap)  # a search takes another path where two quantizers are tried
    assert found["auto"].gap <= found[better].gap + slack
    assert states["auto"] == states[better] or found[worse].gap <= found[better].gap + slack


@pytest.mark.parametrize(("tuned_share", "asked"), [(0.5, False), (0.8, True)])
def test_a_trellis_is_asked_only_where_it_may_still_win(trained, monkeypatch, tuned_share, asked):
    """Half of plain rounding's gap is out of its reach, four fifths are not."""
    source = source_of(trained, "pack.low_rank=off", "pack.quantizer=auto", "pack.tune_batch_tokens=512")
    draft, trellises = draft_of(source), []

    def look(looked, _packed, _source):
        matrices = looked.prepared
        trellises.append(bool(matrices[0].states))
        return tuned_share if matrices[0].tuned else 0.9 if matrices[0].states else 1.0

    monkeypatch.setattr("golf.packing.search.training_gap", look)
    found = fit(draft, source, room=6_000)
    assert found.tuned
    assert any(trellises) == asked


def test_a_trellis_that_is_better_than_what_was_tuned_is_taken(trained, monkeypatch):
    source = source_of(trained, "pack.low_rank=off", "pack.quantizer=auto", "pack.tune_batch_tokens=512")
    draft = draft_of(source)
    gaps = {(False, False): 1.0, (False, True): 0.95, (True, False): 0.8}
    monkeypatch.setattr(
        "golf.packing.search.training_gap",
        lambda d, *_: gaps[bool(d.prepared[0].states), d.prepared[0].tuned is not None],
    )
    found = fit(draft, source, room=6_000)
    assert not found.tuned
    assert (found.gap, found.rounded_gap) == (0.8, 0.8)
    assert found.solution.packed.coded[0].states == STATES


@pytest.mark.parametrize(
    ("bits", "least", "measured", "alone"),
    [(2.5, 0.5, 0.1, True), (2.5, 1e-6, 1e-7, False), (2.5, 0.5, 0.4, False), (1.9, 0.5, 0.1, False)],
    ids=["small gap", "no gap is so small", "predicted wrongly", "few bits"],
)
def test_plain_integers_are_not_tried_where_a_trellis_does_and_tuning_would_not(
    trained, monkeypatch, bits, least, measured, alone
):
    """Tuning pays from a gap of `least` on; a trellis's gap of `measured` means one of 1.42 times as much for plain."""
    source = source_of(trained, "pack.low_rank=off", "pack.quantizer=auto", "pack.tune_batch_tokens=512")
    draft, plain = draft_of(source), []
    monkeypatch.setattr("golf.packing.search._least_gap", lambda *_: least)
    monkeypatch.setattr(
        "golf.packing.search.training_gap", lambda looked, *_: plain.append(not looked.prepared[0].states) or measured
    )
    found = fit(draft, source, room=round(bits * draft.weights / 8))
    assert any(plain) != alone
    assert found.solution.packed.coded[0].states == STATES or not alone


def test_tuning_that_has_too_little_text_to_learn_from_is_left_out(trained):
    source = source_of(trained, "pack.tune_tokens=64")
    assert fit(draft_of(source), source, room=7_000).rounded_gap is None


def test_where_the_text_still_teaches_a_roomy_pack_is_tuned_too(trained):
    """Or more bytes would make a worse model."""
    tuning = ("pack.tune_tokens=32768", "pack.tune_batch_tokens=512")
    source = source_of(trained, *tuning)
    found = fit(draft_of(source), source, room=1_000_000)
    assert not found.solution.binding
    assert found.tuned and found.gap < 0
    untaught = source_of(trained, *tuning, "pack.tune_text=0")
    assert fit(draft_of(untaught), untaught, room=1_000_000).rounded_gap is None


def test_tuning_leaves_the_float_model_alone(trained):
    source = source_of(trained, "pack.tune_tokens=8192", "pack.tune_batch_tokens=512")
    before = {name: p.detach().clone() for name, p in source.model.named_parameters()}
    fit(draft_of(source), source, room=6_500)
    assert all(torch.equal(p, before[name]) for name, p in source.model.named_parameters())


# As many batches as make tuning win over rounding, its price changed along the way.
TUNED = ("pack", "--cap", "5kB", "--set", "pack.tune_batch_tokens=512")


def test_the_same_run_packs_to_the_same_bytes_again(trained):
    for name in ("first.bin", "second.bin"):
        found = golf_json(*TUNED, "--out", name, cwd=trained)
        assert found["training_gap"] < found["rounded_training_gap"]
    assert (trained / "first.bin").read_bytes() == (trained / "second.bin").read_bytes()


def test_one_and_two_threads_pack_the_same_bytes(trained):
    packing, contents = (*TUNED, "--set", "pack.quantizer=auto"), []
    for threads in (1, 2):
        process = golf_process(*packing, "--out", f"by{threads}.bin", cwd=trained, threads=threads)
        _, said = process.communicate()
        assert process.returncode == 0, said
        contents.append((trained / f"by{threads}.bin").read_bytes())
    assert contents[0] == contents[1]


def test_little_calibration_text_is_said(trained):
    done = golf("pack", "--cap", "7kB", "--out", "x.bin", "--set", "pack.calibration_tokens=16", cwd=trained)
    assert "damping stands in" in done.stderr


def test_an_artifact_that_is_replaced_is_said(trained):
    first = golf("pack", "--cap", "7kB", "--out", "twice.bin", cwd=trained)
    size = (trained / "twice.bin").stat().st_size
    failed = golf("pack", "--cap", "1kB", "--out", "twice.bin", cwd=trained, check=2)
    second = golf("pack", "--cap", "7400", "--out", "twice.bin", cwd=trained)
    assert "replaced" not in first.stderr + failed.stderr + second.stdout
    assert f"note: replaced twice.bin, which had {size:,} bytes\n" in second.stderr


def test_a_file_that_is_no_artifact_is_not_replaced(trained):
    (trained / "mine.toml").write_text("name = 'mine'\n")
    done = golf("pack", "--cap", "7kB", "--out", "mine.toml", cwd=trained, check=2)
    assert "mine.toml is there and no artifact" in done.stderr
    assert (trained / "mine.toml").read_text() == "name = 'mine'\n"


def test_only_what_packing_can_still_change_may_be_set(trained):
    done = golf("pack", "--set", "model.layers=3", "--set", "pack.damping=2", "--out", "x.bin", cwd=trained, check=2)
    assert "model.layers=3: only [budget], [pack], [verify] can change now" in done.stderr
    done = golf("pack", "--set", "pack.dampin=0.1", "--out", "x.bin", cwd=trained, check=2)
    assert "did you mean damping" in done.stderr
