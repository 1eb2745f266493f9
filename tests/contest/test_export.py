"""A submission's folder from packed runs, and weights for other tools."""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli import environment, golf, golf_json

from golf.artifact import assemble, open_artifact
from golf.errors import EnvironmentFailure
from golf.evaluation.rebuild import rebuild

ROOT = Path(__file__).parents[2]
RUN = "artifacts/tiny"
# golf itself is out of reach: what the exported script runs is what it carries.
ALONE = f"""
import runpy, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]
sys.path = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
try:
    import golf.errors
    raise SystemExit("golf is still within reach")
except ImportError:
    sys.modules.pop("golf", None)  # an editable install leaves a folder of that name, with recipes alone
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def packed(trained, tmp_path_factory):
    """A workspace whose run is packed with the script's bytes counted."""
    place = tmp_path_factory.mktemp("packed") / "w"
    shutil.copytree(trained, place)
    golf("pack", "--cap", "200kB", "--code-bytes", "auto", "--set", "pack.tune_tokens=0", cwd=place)
    return place


@pytest.fixture(scope="module")
def exported(packed):
    golf("export", RUN, "--out", "submission", "--author", "A", "--github-id", "a", "--blurb", "Small.", cwd=packed)
    return packed / "submission"


def alone(script, *arguments, cwd):
    command = [sys.executable, "-c", ALONE, str(script), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment(), timeout=120)


def final(text):
    line = next(line for line in text.splitlines() if line.startswith("final_golf_roundtrip_exact"))
    return {key: float(value) for key, value in (pair.split(":") for pair in line.removesuffix("ms").split()[1:])}


def test_the_counted_code_is_the_shipped_code_to_the_byte(packed, exported):
    artifact = open_artifact(packed / RUN / "artifact.bin")
    card = json.loads((exported / "submission.json").read_text())
    size = (exported / "train_gpt.py").stat().st_size
    assert artifact.manifest.budget.code_bytes == size == card["bytes_code"]
    assert card["bytes_total"] == size + (exported / "artifact.bin").stat().st_size <= 200_000


def test_the_script_alone_measures_what_verify_does(packed, exported):
    verified = golf_json("verify", packed / RUN / "artifact.bin", cwd=packed)
    done = alone(exported / "train_gpt.py", cwd=packed)
    assert done.returncode == 0, done.stderr
    found = final(done.stdout)
    assert found["val_bpb"] == pytest.approx(verified["bpb"], abs=1e-6)
    assert found["val_loss"] == pytest.approx(verified["loss"], abs=1e-6)


def test_the_script_alone_trains_packs_and_measures(packed, exported, tmp_path):
    done = alone(exported / "train_gpt.py", "--train", "--seed", 11, "--out", tmp_path / "run", cwd=packed)
    assert done.returncode == 0, done.stderr
    assert "step:12/12 " in done.stdout and "Total submission size" in done.stdout
    assert done.stdout == (tmp_path / "run" / "train.log").read_text()
    size = (tmp_path / "run" / "artifact.bin").stat().st_size + (exported / "train_gpt.py").stat().st_size
    assert size <= 200_000
    again = alone(exported / "train_gpt.py", "--train", "--seed", 11, "--out", tmp_path / "run", cwd=packed)
    assert again.returncode == 2 and "holds a run;" in again.stderr


def test_a_broken_claim_is_exit_code_3(packed, exported, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    with (copy / "train_gpt.py").open("ab") as file:
        file.write(b"#" * 200_000)
    done = alone(copy / "train_gpt.py", cwd=packed)
    assert done.returncode == 3 and "FAIL" in done.stdout


def test_a_submission_states_the_contests_bits_per_byte(packed, tmp_path):
    """They leave out what the tokenizer changed, which golf's own number counts."""
    run = tmp_path / "lossy"
    shutil.copytree(packed / RUN, run)
    artifact = open_artifact(run / "artifact.bin")
    claim = replace(artifact.manifest.claim, restoring_bits=9_999, counted_bytes=2_000, bpb=77.0)
    content = assemble(replace(artifact.manifest, claim=claim), artifact.payloads())
    (run / "artifact.bin").write_bytes(content)
    assert open_artifact(run / "artifact.bin").manifest.claim == claim
    golf("export", run, "--out", "lossy", cwd=packed)
    card = json.loads((packed / "lossy" / "submission.json").read_text())
    contests = pytest.approx(claim.val_loss / math.log(2) * claim.tokens / 2_000, abs=1e-6)
    assert card["val_bpb"] == card["seed_results"]["3"]["val_bpb"] == contests
    assert final((packed / "lossy" / "train_seed3.log").read_text())["val_bpb"] == contests


def test_a_script_that_does_not_fit_is_refused_and_nothing_is_written(packed):
    done = golf("export", "--code", "plain", "--out", "plain", cwd=packed, check=3)
    assert "over the cap 200,000" in done.stderr
    advised = re.search(r"--cap (\d+) --code-bytes (\d+)", done.stderr)
    assert advised and int(advised[1]) > int(advised[2]) > 200_000  # the script alone is over the cap: raise it
    assert not (packed / "plain").exists()


def test_a_folder_with_other_things_is_never_written_over(packed, exported):
    assert "--force" in golf("export", "--out", "submission", cwd=packed, check=2).stderr
    place = packed / "theses"
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    assert "theses was not written" in golf("export", "--out", "theses", "--force", cwd=packed, check=2).stderr
    assert (place / "thesis.tex").read_text() == "years of work"


def test_force_replaces_an_export_and_deletes_nothing_before_all_is_written(packed, exported, monkeypatch):
    (exported / "train_seed99.log").write_text("of an earlier export")
    before = (exported / "train_gpt.py").read_bytes()

    def full(path, content):
        raise EnvironmentFailure("no space")

    with monkeypatch.context() as patched:
        patched.setattr("golf.contest.export_folder.durable.write_bytes", full)
        golf("export", "--out", "submission", "--force", cwd=packed, check=5)
    assert (exported / "train_gpt.py").read_bytes() == before and (exported / "train_seed99.log").exists()
    golf("export", "--out", "submission", "--force", cwd=packed)
    assert not (exported / "train_seed99.log").exists()
    mine = packed / "own"
    mine.mkdir()
    (mine / "README.md").write_text("mine")
    assert "was not written by golf" in golf("export", "--out", "own", "--force", cwd=packed, check=2).stderr
    assert (mine / "README.md").read_text() == "mine"


def test_the_script_without_its_artifact_says_what_to_do(packed, exported, tmp_path):
    shutil.copy(exported / "train_gpt.py", tmp_path)
    done = alone(tmp_path / "train_gpt.py", cwd=packed)
    assert done.returncode == 2 and "--train" in done.stderr


def test_several_runs_are_seeds_of_one_submission(packed):
    for seed in (4, 5):
        settings = ("--set", f"seed={seed}", "--set", "pack.tune_tokens=0", "--set", "budget.cap=200000")
        golf("train", *settings, "--out", f"seed{seed}", cwd=packed)
        golf("pack", f"seed{seed}", "--code-bytes", "auto", cwd=packed)
    done = golf_json("export", "seed4", "seed5", "--out", "both", cwd=packed)
    assert {"train_seed4.log", "train_seed5.log"} <= done["files"].keys()
    card = json.loads((packed / "both" / "submission.json").read_text())
    assert card["seeds"] == [4, 5]
    losses = [card["seed_results"][seed]["val_loss"] for seed in ("4", "5")]
    assert card["val_loss"] == pytest.approx(sum(losses) / 2)
    assert "each seed once" in golf("export", "seed4", "seed4", "--out", "x", cwd=packed, check=2).stderr
    golf("train", *settings, "--set", "train.steps=8", "--set", "seed=6", "--out", "shorter", cwd=packed)
    golf("pack", "shorter", "--code-bytes", "auto", cwd=packed)
    other = golf("export", "seed4", "shorter", "--out", "x", cwd=packed, check=2)
    assert "shorter is of another recipe" in other.stderr


@pytest.mark.parametrize("kind", ["safetensors", "hf"])
def test_weights_come_back_without_golf(packed, kind):
    out = packed / f"weights-{kind}"
    golf("export", "--format", kind, "--out", out, cwd=packed)
    code = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from load_model import load; model = load(sys.argv[1]);"
        "import golf.cli;"  # another golf beside it is left alone
        "torch.manual_seed(0); print(model(torch.randint(260, (2, 9))).detach().double().sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, out], capture_output=True, text=True, env=environment(), check=True
    )
    model = rebuild(open_artifact(packed / RUN / "artifact.bin")).model
    torch.manual_seed(0)
    assert float(done.stdout) == float(model(torch.randint(260, (2, 9))).detach().double().sum())
    config = json.loads((out / "config.json").read_text())
    assert ("hidden_size" in config) == (kind == "hf")


@pytest.mark.parametrize(("redirected", "code"), [(">&- 2>&-", 0), ("| true", 0), ("> /dev/full", 5)])
def test_the_script_judges_whoever_reads_it(packed, exported, redirected, code):
    command = shlex.join([sys.executable, "-c", ALONE, str(exported / "train_gpt.py")])
    given = {"cwd": packed, "env": environment(), "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} {redirected}"], check=False, **given)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
