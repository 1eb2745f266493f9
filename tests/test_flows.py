"""The main job, from recipe to verdict, as a user types it."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli import environment, golf, golf_json, golf_process

from golf.artifact import assemble, open_artifact
from golf.data import open_shard, write_shard
from golf.run.checkpoint import load_checkpoint


def run_folder(workspace):
    return workspace / "artifacts" / "tiny"


def weights(folder):
    tensors = load_checkpoint(folder / "checkpoint.safetensors").tensors
    return {
        k: hashlib.sha256(v.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest() for k, v in tensors.items()
    }


def test_the_run_holds_what_the_readme_says(trained):
    names = {path.name for path in run_folder(trained).iterdir() if not path.name.startswith(".")}
    assert names == {
        "recipe.toml",
        "metrics.jsonl",
        "result.json",
        "checkpoint.safetensors",
        "checkpoint.previous.safetensors",
        "artifact.bin",
        "ledger.json",
    }


def test_metrics_have_their_keys(trained):
    records = [json.loads(line) for line in (run_folder(trained) / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 3, 6, 9, 12]
    keys = {"step", "tokens", "train_loss", "lr", "rank_fraction", "tokens_per_s", "elapsed"}
    assert all(keys <= r.keys() for r in records)
    assert [r["step"] for r in records if "val_loss" in r] == [6, 12]
    for key in ("val_bpb", "predicted_bytes", "stable_rank", "effective_rank"):
        assert key in records[-1]
    assert records[-1]["train_loss"] < records[0]["train_loss"]


def test_the_resolved_recipe_is_beside_the_result_and_in_the_artifact(trained):
    from golf.recipe import load_recipe

    recipe = load_recipe(run_folder(trained) / "recipe.toml")
    manifest = open_artifact(run_folder(trained) / "artifact.bin").manifest
    assert manifest.recipe == recipe.model_dump(mode="json", exclude_none=True)


def test_the_artifact_is_under_its_cap_and_nearly_fills_it(trained):
    result = json.loads((run_folder(trained) / "ledger.json").read_text())
    size = (run_folder(trained) / "artifact.bin").stat().st_size
    assert result["size"] == result["ledger"]["total"] == size
    assert result["binding"]
    assert 0.997 * 7_500 <= size <= 7_500


def test_the_ledger_sums_exactly(trained):
    ledger = json.loads((run_folder(trained) / "ledger.json").read_text())["ledger"]
    assert sum(ledger["parts"].values()) == ledger["total"]
    by_matrix = sum(sum(m["parts"].values()) for m in ledger["matrices"])
    assert by_matrix == sum(ledger["parts"].get(p, 0) for p in ("left", "right", "residual"))
    assert {"header", "manifest", "small tensors", "residual", "scales"} <= ledger["parts"].keys()


def test_verify_agrees_with_the_claim_to_the_last_digit(trained):
    verdict = golf_json("verify", "artifact.bin", cwd=trained)
    claim = open_artifact(run_folder(trained) / "artifact.bin").manifest.claim
    assert verdict["passed"]
    assert verdict["loss"] == pytest.approx(claim.val_loss, abs=1e-6)
    assert (verdict["tokens"], verdict["bytes"]) == (claim.tokens, claim.bytes)
    assert verdict["artifact"] == "artifacts/tiny/artifact.bin"


def test_verify_needs_nothing_but_the_file_and_the_text(trained, tmp_path):
    shutil.copy(run_folder(trained) / "artifact.bin", tmp_path / "alone.bin")
    shutil.copy(trained / "text.txt", tmp_path / "moved.txt")
    verdict = golf_json("verify", "alone.bin", "--data", "moved.txt", cwd=tmp_path)
    assert verdict["passed"]
    assert not verdict["notes"]
    assert all(c["passed"] for c in verdict["checks"])
    assert [c["name"] for c in verdict["checks"]] == [
        "bytes", "nats per token", "tokens scored", "bits per byte", "bytes scored",
    ]  # fmt: skip


def test_another_text_is_measured_and_held_against_nothing_but_a_bound(trained, tmp_path):
    (tmp_path / "other.txt").write_text("Once upon a time there was another text.\n" * 50)
    asked = ("verify", "artifact.bin", "--data", tmp_path / "other.txt")
    done = golf(*asked, "--json", cwd=trained, check=7)
    verdict = json.loads(done.stdout)
    assert verdict["passed"] and not verdict["loss_held"]
    assert "another text" in verdict["notes"][0]
    assert [c["passed"] for c in verdict["checks"]] == [True, None]
    assert "held against nothing" in done.stderr
    bounded = golf_json(*asked, "--max-bpb", "9", "--max-loss", "9", cwd=trained)
    assert bounded["loss_held"] and not bounded["claim_held"]
    assert [c["passed"] for c in bounded["checks"]] == [True, True, True]
    golf(*asked, "--max-loss", "0.1", cwd=trained, check=3)


def test_the_verifiers_text_is_read_by_the_verifiers_options(trained, tmp_path):
    lines = [json.dumps({"body": f"Line {i} of a text with a field of its own.\n"}) for i in range(200)]
    (tmp_path / "other.jsonl").write_text("\n".join(lines))
    asked = ("verify", "artifact.bin", "--data", tmp_path / "other.jsonl", "--max-loss", "9")
    assert "text_field" in golf(*asked, cwd=trained, check=2).stderr
    whole = golf_json(*asked, "--text-field", "body", cwd=trained)
    some = golf_json(*asked, "--text-field", "body", "--tokens", "640", cwd=trained)
    wider = golf_json(*asked, "--text-field", "body", "--tokens", "640", "--window", "128", cwd=trained)
    split = golf_json(*asked, "--text-field", "body", "--val-fraction", "0.1", cwd=trained)
    assert whole["tokens"] > 8000 and some["tokens"] == wider["tokens"] == 640
    assert wider["loss"] != some["loss"]
    assert 200 < split["tokens"] < whole["tokens"] / 2
    assert split["text"].startswith("the validation split of")


def test_the_caps_alone_are_held_where_no_more_is_asked(trained):
    done = golf("verify", "artifact.bin", "--caps-only", cwd=trained)
    assert "NO LOSS MEASURED" in done.stdout and "nats" not in done.stdout
    assert "drop one" in golf("verify", "artifact.bin", "--caps-only", "--max-bpb", "2", cwd=trained, check=2).stderr
    golf("verify", "artifact.bin", "--caps-only", "--cap", "100", cwd=trained, check=3)


def test_a_bound_without_a_text_is_held_on_more_than_the_claims_slice(trained):
    """An artifact that names few tokens in its claim is measured on the text that it names."""
    verdict = golf_json("verify", "artifact.bin", "--max-loss", "9", cwd=trained)
    assert verdict["own"]["tokens"] > verdict["claim"]["tokens"] == 2048
    assert "--data holds it" in verdict["notes"][0]


@pytest.fixture
def shards(trained, tmp_path):
    """The claim's own validation text as the contest lays shards out, tokenised by what the artifact carries."""
    folder = tmp_path / "datasets" / "fineweb10B_byte260"
    given = ("--tokenizer", "bytes", "--val-fraction", "0.2", "--name", "fineweb", "--workers", "1")
    golf("data", "prepare", "text.txt", *given, "--out", folder, cwd=trained)
    return folder


@pytest.mark.parametrize("named", [".", "fineweb_val_000000.bin"])
def test_the_claimed_text_is_known_in_shards_too(trained, shards, named):
    verdict = golf_json("verify", "artifact.bin", "--data", shards / named, cwd=trained)
    assert not verdict["notes"]
    assert [c["name"] for c in verdict["checks"] if c["passed"]] == [
        "bytes", "nats per token", "tokens scored", "bits per byte", "bytes scored",
    ]  # fmt: skip


def test_a_wrong_claim_fails_on_shards_as_on_text(trained, shards):
    claim = open_artifact(run_folder(trained) / "artifact.bin").manifest.claim
    path = forge(trained, claim=replace(claim, val_loss=claim.val_loss + 0.01))
    assert "nats per token" in golf("verify", path, "--data", shards, cwd=trained, check=3).stderr


def test_shards_of_other_text_hold_only_the_caps(trained, shards):
    path = shards / "fineweb_val_000000.bin"
    tokens = open_shard(path).copy()
    tokens[5] = tokens[5] - 1  # within the text of the claim
    write_shard(path, tokens)
    verdict = json.loads(golf("verify", "artifact.bin", "--data", shards, "--json", cwd=trained, check=7).stdout)
    assert "another text" in verdict["notes"][0]
    assert [c["passed"] for c in verdict["checks"]] == [True, None]


def test_shards_that_another_tokenizer_made_are_refused(trained, shards):
    (shards / "tokenizer.model").write_bytes(b"another one")
    done = golf("verify", "artifact.bin", "--data", shards, cwd=trained, check=2)
    assert "another tokenizer than the model's" in done.stderr
    (shards / "tokenizer.model").unlink()
    tokens = open_shard(shards / "fineweb_val_000000.bin").copy()
    tokens[7] = 260  # one more than there are byte tokens
    write_shard(shards / "fineweb_val_000000.bin", tokens)
    assert "token 260" in golf("verify", "artifact.bin", "--data", shards, cwd=trained, check=4).stderr


def test_a_folder_of_text_may_hold_an_artifact(trained, tmp_path):
    shutil.copy(run_folder(trained) / "artifact.bin", tmp_path / "artifact.bin")
    shutil.copy(trained / "text.txt", tmp_path / "text.txt")
    assert not golf_json("verify", tmp_path / "artifact.bin", "--data", tmp_path, cwd=trained)["notes"]


def test_without_the_claimed_text_the_caps_alone_are_held(trained, tmp_path):
    """A changed corpus, as another Python version's library is."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    text = (copy / "text.txt").read_text()
    (copy / "text.txt").write_text(text.replace("square", "second power"))
    done = golf("verify", "artifact.bin", cwd=copy, check=7)
    assert "--data" in done.stderr
    assert "not the one the claim was measured on" in done.stderr
    assert "LOSS NOT CHECKED" in done.stdout
    assert golf_json("verify", "artifact.bin", "--max-loss", "9", cwd=copy)["claim_held"] is False
    assert golf_json("verify", "artifact.bin", cwd=trained)["claim_held"] is True


def test_a_byte_less_cap_than_the_size_fails_with_3(trained):
    size = (run_folder(trained) / "artifact.bin").stat().st_size
    golf("verify", "artifact.bin", "--cap", size, cwd=trained)
    done = golf("verify", "artifact.bin", "--cap", size - 1, cwd=trained, check=3)
    assert "fails: bytes" in done.stderr
    assert "--cap" in done.stdout
    golf("verify", "artifact.bin", "--cap", size + 99, "--code-bytes", 100, cwd=trained, check=3)


def test_too_many_bits_per_byte_fail_with_3(trained):
    done = golf("verify", "artifact.bin", "--max-bpb", "0.001", cwd=trained, check=3)
    assert "bits per byte" in done.stderr
    verdict = golf_json("verify", "artifact.bin", "--recipe", "tiny.toml", cwd=trained)
    assert verdict["checks"][0]["whose"] == "tiny.toml"


def forge(trained, **changes):
    """The trained artifact with parts of its manifest replaced and every digest made right again."""
    artifact = open_artifact(run_folder(trained) / "artifact.bin")
    path = trained / "forged.bin"
    path.write_bytes(assemble(replace(artifact.manifest, **changes), artifact.payloads()))
    return path


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("val_loss", 0.01, "nats per token"),
        ("bpb", 0.01, "bits per byte"),
        ("tokens", 1000, "tokens scored"),
        ("bytes", 9**9, "bytes scored"),
    ],
)
def test_a_wrong_claim_fails_with_3(trained, field, value, name):
    claim = open_artifact(run_folder(trained) / "artifact.bin").manifest.claim
    done = golf("verify", forge(trained, claim=replace(claim, **{field: value})), cwd=trained, check=None)
    if field == "tokens":  # fewer tokens are another text, and then nothing of the claim is held, nor passed
        assert "not the one the claim was measured on" in done.stderr
        assert "tokens scored" not in done.stdout
    else:
        assert done.returncode == 3
        assert name in done.stderr


def test_a_claim_with_an_endless_tolerance_is_none(trained):
    claim = open_artifact(run_folder(trained) / "artifact.bin").manifest.claim
    done = golf("verify", forge(trained, claim=replace(claim, val_loss=0.1, tolerance=1e9)), cwd=trained, check=4)
    assert "manifest" in done.stderr


def test_a_recipe_that_contradicts_its_artifact_is_refused(trained):
    recipe = dict(open_artifact(run_folder(trained) / "artifact.bin").manifest.recipe)
    for section, key, value in (("model", "layers", 77), ("budget", "cap", 10**6), ("train", "sequence_length", 2**20)):
        changed = recipe | {section: recipe[section] | {key: value}}
        if section == "train":
            changed["train"] |= {"batch_tokens": 2**20}
        done = golf("verify", forge(trained, recipe=changed), cwd=trained, check=4)
        assert "manifest: " in done.stderr


def test_predictions_that_are_not_finite_fail(trained):
    artifact = open_artifact(run_folder(trained) / "artifact.bin")
    tensors = tuple(
        replace(t, parameters={**t.parameters, "step": t.parameters["step"] * 1e24}) if "mlp.up" in t.name else t
        for t in artifact.manifest.tensors
    )
    done = golf("verify", forge(trained, tensors=tensors), cwd=trained, check=4)
    assert "content_sha256" in done.stderr


def test_markup_and_control_characters_of_a_stranger_are_shown_as_they_are(trained):
    recipe = dict(open_artifact(run_folder(trained) / "artifact.bin").manifest.recipe)
    path = forge(trained, recipe=recipe | {"name": "[/x]\x1b[31m"})
    shown = golf("inspect", path, cwd=trained).stdout
    assert "[/x]?[31m" in shown


def test_one_flipped_byte_in_each_section_exits_4_and_names_the_part(trained):
    path = run_folder(trained) / "artifact.bin"
    artifact, content = open_artifact(path), path.read_bytes()
    start, parts = 0, artifact.parts()
    for name, size in parts:
        altered = bytearray(content)
        altered[start + size // 2] ^= 1
        (trained / "altered.bin").write_bytes(altered)
        # inspect and verify share the one parser; inspect starts without torch, so that every section can be tried
        done = golf("inspect", "altered.bin", cwd=trained, check=4)
        part = name if name in ("header", "manifest") else "file: altered: its SHA-256 is another, though its manifest"
        assert part in done.stderr, (name, done.stderr)
        start += size
    assert start == len(content)
    golf("verify", "altered.bin", cwd=trained, check=4)


def test_inspect_shows_the_parts_without_torch(trained):
    done = golf("inspect", "artifact.bin", cwd=trained)
    assert "blocks.1.mlp.down.weight" in done.stdout
    code = "import sys; sys.argv = ['golf', 'inspect', 'artifact.bin']; from golf.cli import main\n"
    code += "try: main()\nfinally: assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=trained, check=True, capture_output=True, env=environment())


def test_generate_writes_text_from_the_artifact_alone(trained, tmp_path):
    shutil.copy(run_folder(trained) / "artifact.bin", tmp_path / "alone.bin")
    first = golf("generate", "alone.bin", "def f", "--tokens", 20, "--seed", 1, cwd=tmp_path).stdout
    again = golf("generate", "alone.bin", "def f", "--tokens", 20, "--seed", 1, cwd=tmp_path).stdout
    assert first.startswith("def f")
    assert len(first) > 10
    assert first == again


def test_the_same_checkpoint_gives_the_same_bytes_in_two_processes(trained):
    golf("pack", "--cap", "7kB", "--out", "one.bin", cwd=trained)
    with golf_process("pack", "--cap", "7kB", "--out", "two.bin", cwd=trained) as process:
        process.stderr.read()
    assert (trained / "one.bin").read_bytes() == (trained / "two.bin").read_bytes()


@pytest.mark.parametrize("cap", ["6500", "8kB", "1MB"])
def test_caps_tight_and_roomy(trained, cap):
    result = golf_json("pack", "--cap", cap, "--out", f"cap{cap}.bin", cwd=trained)
    assert result["size"] <= result["cap"]
    if result["binding"]:
        assert result["size"] >= 0.995 * result["cap"]
    else:
        assert cap == "1MB"
        assert result["loss"] - result["float_loss"] < 5e-3


def test_code_bytes_are_counted_into_the_cap(trained):
    result = golf_json("pack", "--cap", "10kB", "--code-bytes", "3000", "--out", "code.bin", cwd=trained)
    assert 0.997 * 10_000 <= result["size"] + 3000 <= 10_000


def test_an_unreachable_cap_names_the_smallest_reachable_size(trained):
    before = (run_folder(trained) / "artifact.bin").read_bytes()
    done = golf("pack", "--cap", "500", cwd=trained, check=2)
    assert "smallest reachable" in done.stderr
    assert (run_folder(trained) / "artifact.bin").read_bytes() == before


@pytest.mark.parametrize("low_rank", ["off", "only"])
def test_both_ends_of_low_rank_verify(trained, low_rank):
    name = f"{low_rank}.bin"
    result = golf_json("pack", "--cap", "15kB", "--set", f"pack.low_rank={low_rank}", "--out", name, cwd=trained)
    parts = result["ledger"]["parts"]
    assert ("left" in parts, "residual" in parts) == ((True, False) if low_rank == "only" else (False, True))
    golf("verify", name, cwd=trained)


def test_a_second_training_into_the_same_folder_is_refused(trained):
    before = weights(run_folder(trained))
    done = golf("train", cwd=trained, check=2)
    assert "--resume" in done.stderr
    assert "--force" in done.stderr
    done = golf("train", "--resume", "--set", "optimizer.lr=0.5", cwd=trained, check=2)
    assert "optimizer.lr" in done.stderr
    assert weights(run_folder(trained)) == before


def test_force_keeps_the_old_run_until_the_new_one_can_start(trained):
    before = weights(run_folder(trained))
    done = golf("train", "--force", "--set", "data.path=typo.txt", cwd=trained, check=2)
    assert "typo.txt" in done.stderr
    assert weights(run_folder(trained)) == before


def test_a_changed_text_is_noticed_by_resume_and_pack(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    text = (copy / "text.txt").read_text()
    (copy / "text.txt").write_text(text + "one more line\n")
    for command in ("train --resume", "pack"):
        done = golf(*command.split(), cwd=copy, check=2)
        assert "not the one this run was trained on" in done.stderr


def test_resuming_a_finished_run_changes_nothing(trained):
    before = weights(run_folder(trained))
    done = golf("train", "--resume", cwd=trained)
    assert weights(run_folder(trained)) == before
    assert "note: the training was over already, at step 12" in done.stderr


def test_interrupted_and_resumed_equals_uninterrupted(workspace):
    """As a user does it; every optimizer and option is held in tests/training/test_resume.py."""
    optimizer = "numuon"
    settings = ("--set", f"optimizer.name={optimizer}", "--set", "train.steps=40", "--set", "train.log_every=1")
    whole, parts = workspace / f"whole-{optimizer}", workspace / f"parts-{optimizer}"
    golf("train", *settings, "--out", whole, cwd=workspace)
    with golf_process("train", *settings, "--out", parts, cwd=workspace) as process:
        for line in process.stderr:
            if line.startswith("step:7/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert f"golf train --resume --out parts-{optimizer}" in rest
    stopped = load_checkpoint(parts / "checkpoint.safetensors").state["step"]
    assert 7 <= stopped < 40
    golf("train", "--resume", "--out", parts, cwd=workspace)
    assert weights(parts) == weights(whole)

    def losses(folder):
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [(r["step"], r["train_loss"]) for r in records]

    assert losses(parts) == losses(whole)


def test_a_terminated_run_exits_143_and_resumes(workspace):
    folder = workspace / "terminated"
    with golf_process("train", "--set", "train.steps=4000", "--out", folder, cwd=workspace) as process:
        for line in process.stderr:
            if line.startswith("step:"):
                process.terminate()
                break
        process.stderr.read()
        assert process.wait(60) == 143
    assert load_checkpoint(folder / "checkpoint.safetensors").state["step"] >= 1


def test_a_killed_training_leaves_a_checkpoint_that_resumes(workspace):
    folder = workspace / "killed"
    settings = ("--set", "train.steps=4000", "--set", "train.checkpoint_every=1", "--out", str(folder))
    with golf_process("train", *settings, cwd=workspace) as process:
        while not (folder / "checkpoint.previous.safetensors").exists():
            time.sleep(0.02)
            assert process.poll() is None
        time.sleep(0.2)
        process.kill()
    killed_at = load_checkpoint(folder / "checkpoint.safetensors").state["step"]
    with golf_process("train", "--resume", "--out", folder, cwd=workspace) as process:
        first = next(line for line in process.stderr if line.startswith("step:"))
        process.terminate()
        process.stderr.read()
    assert first.startswith(f"step:{killed_at + 1}/")


def test_a_loss_that_is_not_finite_stops_with_6_and_keeps_the_last_good_checkpoint(workspace, monkeypatch):
    from golf.model import Transformer

    honest, calls = Transformer.loss, []

    def breaking(self, windows, *, reduction="mean"):
        calls.append(len(windows))
        loss = honest(self, windows, reduction=reduction)
        return loss * float("nan") if len(calls) > 4 else loss

    monkeypatch.setattr(Transformer, "loss", breaking)
    folder = workspace / "broken"
    done = golf("train", "--set", "train.checkpoint_every=2", "--out", folder, cwd=workspace, check=6)
    assert "step 5: the loss is not finite; the last good checkpoint is kept" in done.stderr
    checkpoint = load_checkpoint(folder / "checkpoint.safetensors")
    assert checkpoint.state["step"] == 4
    assert all(bool(t.isfinite().all()) for t in checkpoint.tensors.values())


def test_a_gradient_that_is_not_finite_is_named(workspace, monkeypatch):
    from golf.model import Transformer

    honest = Transformer.loss

    def breaking(self, windows, *, reduction="mean"):
        self.blocks[1].mlp.up.weight.register_hook(lambda gradient: gradient * float("inf"))
        return honest(self, windows, reduction=reduction)

    monkeypatch.setattr(Transformer, "loss", breaking)
    done = golf("train", "--out", workspace / "named", cwd=workspace, check=6)
    assert "step 1: the gradient of blocks.1.mlp.up.weight is not finite; no checkpoint was written yet" in done.stderr


def test_the_validation_text_never_reaches_training_or_calibration(workspace, monkeypatch):
    from golf.data import evaluation_text, prepare
    from golf.recipe import load_recipe

    monkeypatch.chdir(workspace)
    recipe = load_recipe(Path("tiny.toml"))
    data = prepare(recipe.data, recipe.tokenizer, cache=workspace / "cache")
    train = data.tokenizer.decode(data.train.slice(0, len(data.train))).decode()
    validation = data.tokenizer.decode(evaluation_text(recipe.data, data.tokenizer, limit=None).tokens).decode()
    lines = [line for line in validation.splitlines() if line.startswith("def function_")]
    assert len(lines) > 100
    assert not any(line + "\n" in train for line in lines)


def test_dry_run_writes_nothing(workspace):
    before = sorted(workspace.rglob("*"))
    plan = golf_json("train", "--dry-run", cwd=workspace)
    assert sorted(workspace.rglob("*")) == before
    assert plan["parameters"] == sum(plan["by_role"].values())
    assert {a["role"]: a["optimizer"] for a in plan["assignments"]}["embedding"] == "adamw"
    assert plan["tokens"] == 12 * 512
    assert plan["seconds"] > 0
    assert "optimizer" in golf("train", "--dry-run", cwd=workspace).stdout
    missing = golf("train", "--dry-run", "--set", "data.path=no/such", cwd=workspace)
    assert "note: data.path = no/such does not exist" in missing.stderr


def test_a_recipe_with_three_mistakes_lists_all_three(workspace):
    (workspace / "bad.toml").write_text(
        'name = "bad"\n[optimizer]\nrank_fraction = 1.5\n[optimizer.rank]\nend = 1.5\n[modle]\nwidth = 3\n'
    )
    done = golf("train", "bad.toml", cwd=workspace, check=2)
    assert "bad.toml: optimizer.rank_fraction: unknown key" in done.stderr
    assert "bad.toml: optimizer.rank.end: must be" in done.stderr
    assert "bad.toml: modle: unknown key; did you mean model?" in done.stderr
