"""`golf evaluate`: one measure, whatever holds the model."""

import json
import math
import shutil

import numpy as np
import pytest
from cli import golf, golf_json

from golf.cli.evaluate import evaluate
from golf.data import write_shard
from golf.errors import Diverged
from golf.evaluation import evaluate as flow
from golf.evaluation.loss import Score


def test_an_artifact_is_worth_what_verify_says(trained):
    verdict = golf_json("verify", "artifact.bin", cwd=trained)
    result = golf_json("evaluate", "artifact.bin", "--tokens", "2049", cwd=trained)
    assert (result["loss"], result["bpb"]) == (verdict["loss"], verdict["bpb"])
    assert (result["tokens"], result["window"], result["stride"]) == (2048, 64, None)
    assert (result["restoring_bits"], result["contest_bpb"]) == (0, result["bpb"])


def test_a_checkpoint_is_worth_what_train_said(trained):
    trained_loss = golf_json("pack", "--out", "again.bin", cwd=trained)["float_loss"]
    for model in ("artifacts/tiny", "artifacts/tiny/checkpoint.safetensors"):
        result = golf_json("evaluate", model, "--tokens", "2049", cwd=trained)
        assert result["loss"] == pytest.approx(trained_loss, abs=1e-6)


def test_a_run_whose_newest_checkpoint_is_damaged_is_measured_by_the_one_before(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained / "artifacts" / "tiny", run)
    shutil.copy(run / "checkpoint.safetensors", run / "checkpoint.previous.safetensors")
    whole = golf_json("evaluate", run, "--tokens", "1000", cwd=trained)
    (run / "checkpoint.safetensors").write_bytes(b"noise")
    done = golf("evaluate", run, "--tokens", "1000", "--json", cwd=trained)
    assert "going back to checkpoint.previous.safetensors" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["loss"] == whole["loss"]


def test_sliding_scores_the_tail_with_more_context(trained):
    plain = golf_json("evaluate", "artifact.bin", "--tokens", "1000", cwd=trained)
    whole = golf_json("evaluate", "artifact.bin", "--tokens", "1000", "--stride", "64", cwd=trained)
    sliding = golf_json("evaluate", "artifact.bin", "--tokens", "1000", "--stride", "8", cwd=trained)
    assert (plain["tokens"], whole["tokens"], sliding["tokens"]) == (960, 999, 999)
    # this model has learnt next to nothing, so its loss says only that other contexts were used
    assert sliding["loss"] != whole["loss"]


def test_shards_and_the_text_they_were_made_from_score_alike(trained, tmp_path):
    text = "def f(x):\n    return x\n" * 40
    (tmp_path / "text.txt").write_text(text)
    tokens = np.array([1, *(4 + byte for byte in text.encode())], dtype=np.uint16)
    write_shard(tmp_path / "shards" / "fineweb_val_000000.bin", tokens)
    by_text = golf_json("evaluate", "artifact.bin", "--data", tmp_path / "text.txt", cwd=trained)
    by_shard = golf_json("evaluate", "artifact.bin", "--data", tmp_path / "shards", cwd=trained)
    assert by_shard["loss"] == by_text["loss"]
    assert (by_shard["bpb"], by_shard["bytes"]) == (by_text["bpb"], by_text["bytes"])
    assert (by_shard["counted_by"], by_text["counted_by"]) == ("byte tokens", None)


def test_a_reset_counts_the_documents(trained, tmp_path):
    (tmp_path / "two").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "two" / name).write_text(f"{name} = 1\n" * 30)
    done = golf("evaluate", "artifact.bin", "--data", tmp_path / "two", "--reset", cwd=trained)
    assert "starts anew at each of 2 documents" in done.stdout
    assert (
        golf_json("evaluate", "artifact.bin", "--data", tmp_path / "two", "--reset", cwd=trained)["tokens"]
        == 2 * 301 - 1
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("artifact.bin", "--window", "8", "--stride", "9"), 2, "--stride 9 is more than the window 8"),
        (("nowhere.bin",), 2, "nowhere.bin"),
        (("text.txt",), 4, "not a golf artifact"),
        (("artifacts",), 2, "golf train"),
    ],
)
def test_mistakes_get_a_sentence(trained, arguments, code, message):
    assert message in golf("evaluate", *arguments, cwd=trained, check=code).stderr


@pytest.mark.parametrize("file", [".", "text_val_000000.bin"])
def test_shards_of_another_tokenizer_are_refused(trained, tmp_path, file):
    preparing = ("--tokenizer", "sp:300", "--val-fraction", "0.3")
    (tmp_path / "text.txt").write_text((trained / "text.txt").read_text())
    golf("data", "prepare", tmp_path / "text.txt", *preparing, "--out", tmp_path / "shards", cwd=trained)
    done = golf("evaluate", "artifact.bin", "--data", tmp_path / "shards" / file, cwd=trained, check=2)
    assert "another tokenizer" in done.stderr


def test_a_field_of_records_is_named_or_the_recipes(trained, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "one", "body": "another text"}) + "\n")
    sizes = [
        golf_json("evaluate", "artifact.bin", "--data", path, *given, cwd=trained)["bytes"]
        for given in ((), ("--text-field", "body"))
    ]
    assert sizes == [3, 12]
    refused = golf("evaluate", "artifact.bin", "--data", path, "--text-field", "x", cwd=trained, check=2)
    assert 'no field "x"' in refused.stderr


def test_a_loss_that_is_no_number_is_no_success(trained, monkeypatch, capsys):
    """It is shown, and then the exit code is that of a model that diverged."""
    monkeypatch.chdir(trained)
    monkeypatch.setattr(flow, "score_text", lambda *_a, **_k: Score(math.nan, 9, 9))
    with pytest.raises(Diverged, match="not finite"):
        evaluate.main(["artifact.bin"], standalone_mode=False)
    assert "nan" in capsys.readouterr().out
