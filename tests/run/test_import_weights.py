"""The contest's baseline: its forward pass, its names, and weights that its script saved."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from cli import golf, golf_json

from golf.errors import EnvironmentFailure, UsageError
from golf.model import Transformer, parameter_shapes
from golf.model.contest_names import from_contest, to_contest
from golf.recipe import Model
from golf.runtime import durable

V = 40
SHAPE = Model(layers=5, width=32, heads=4, kv_heads=2, mlp_ratio=2.0, skips=True, residual_mix=True, output_scales=True)


def weights(shape=SHAPE):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(dims, generator=generator) * 0.3 for name, dims in parameter_shapes(shape, V)}


def reference(state, tokens):
    """The baseline as challenge and script describe it, written down plainly for one sequence and these sizes."""
    H, KV, width = 4, 2, 8

    def norm(x):
        return x / (x.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()

    def rotate(x):  # (T, heads, width)
        angles = torch.outer(torch.arange(len(tokens)).float(), 10_000.0 ** (-torch.arange(0, width, 2) / width))
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        a, b = x[..., : width // 2], x[..., width // 2 :]
        return torch.cat((a * cos + b * sin, -a * sin + b * cos), -1)

    def attention(p, x):
        q = rotate(norm((x @ state[p + "c_q.weight"].T).view(-1, H, width))) * state[p + "q_gain"][:, None]
        k = rotate(norm((x @ state[p + "c_k.weight"].T).view(-1, KV, width)))
        v = (x @ state[p + "c_v.weight"].T).view(-1, KV, width)
        found = []
        for head in range(H):
            scores = q[:, head] @ k[:, head // (H // KV)].T / width**0.5
            future = torch.ones_like(scores).triu(1).bool()
            found.append(scores.masked_fill(future, float("-inf")).softmax(-1) @ v[:, head // (H // KV)])
        return torch.cat(found, -1) @ state[p + "proj.weight"].T

    x = x0 = norm(state["tok_emb.weight"][tokens])
    skips = []
    for layer in range(5):
        if layer >= 2 and skips:
            x = x + state["skip_weights"][layer - 2] * skips.pop()
        p = f"blocks.{layer}."
        x = state[p + "resid_mix"][0] * x + state[p + "resid_mix"][1] * x0
        x = x + state[p + "attn_scale"] * attention(p + "attn.", norm(x))
        hidden = torch.relu(norm(x) @ state[p + "mlp.fc.weight"].T).square()
        x = x + state[p + "mlp_scale"] * (hidden @ state[p + "mlp.proj.weight"].T)
        if layer < 2:
            skips.append(x)
    return 30 * torch.tanh(norm(x) @ state["tok_emb.weight"].T / 30)


def test_the_forward_pass_is_the_baselines():
    model = Transformer(SHAPE, V)
    model.load_state_dict(weights())
    tokens = torch.randint(V, (24,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = model(tokens[None])[0]
    # two orders of summation in float32, five layers
    assert torch.allclose(ours, reference(to_contest(weights(), SHAPE), tokens), atol=2e-4)


@pytest.mark.parametrize("options", [{}, {"skips": False}, {"residual_mix": False}, {"layers": 4}])
def test_names_go_there_and_back(options):
    shape = SHAPE.model_copy(update=options)
    there = to_contest(weights(shape), shape)
    back = from_contest(there, shape, V)
    assert all(torch.equal(back[name], tensor) for name, tensor in weights(shape).items())
    assert sum(t.numel() for t in there.values()) == sum(t.numel() for t in back.values())


def test_wrappers_tables_and_low_precision_are_understood():
    state = {f"_orig_mod.{name}": tensor.bfloat16() for name, tensor in to_contest(weights(), SHAPE).items()}
    state["_orig_mod.blocks.0.attn.rotary.inv_freq"] = torch.ones(4)
    back = from_contest(state, SHAPE, V)
    assert all(tensor.dtype == torch.float32 for tensor in back.values())
    assert F.mse_loss(back["embedding.weight"], weights()["embedding.weight"]) < 1e-4


def test_every_key_that_does_not_fit_is_named():
    state = to_contest(weights(), SHAPE)
    del state["tok_emb.weight"]
    state["bigram.weight"] = torch.ones(2)
    state["blocks.0.attn_scale"] = torch.ones(31)
    with pytest.raises(UsageError) as caught:
        from_contest(state, SHAPE, V)
    for part in ("lacks tok_emb.weight", "has bigram.weight", "blocks.0.attn_scale is 31, the recipe's model wants 32"):
        assert part in str(caught.value)


@pytest.fixture
def saved(workspace):
    """The workspace, with a baseline of random weights saved as the contest's script would."""
    recipe = (workspace / "tiny.toml").read_text().replace('name = "tiny"', 'name = "theirs"')
    recipe = recipe.replace("layers = 2", "layers = 3\nskips = true\nresidual_mix = true\noutput_scales = true")
    (workspace / "theirs.toml").write_text(recipe)
    shape = Model(layers=3, width=32, heads=2, kv_heads=1, skips=True, residual_mix=True, output_scales=True)
    generator = torch.Generator().manual_seed(0)
    own = {name: torch.randn(dims, generator=generator) * 0.1 for name, dims in parameter_shapes(shape, 260)}
    torch.save(to_contest(own, shape), workspace / "final_model.pt")
    return workspace


def test_imported_weights_pack_and_verify(saved):
    done = golf("import", "final_model.pt", "--recipe", "theirs.toml", "--force", cwd=saved)
    assert "imported" in done.stdout
    packed = golf_json("pack", "artifacts/theirs", "--cap", "60kB", cwd=saved)
    assert golf_json("verify", "artifacts/theirs/artifact.bin", cwd=saved)["passed"]
    measured = golf_json("evaluate", "artifacts/theirs", "--tokens", "2049", cwd=saved)
    assert measured["loss"] == pytest.approx(packed["float_loss"], abs=1e-6)


def test_an_import_over_a_run_leaves_nothing_of_it(saved):
    run = saved / "artifacts" / "theirs"
    golf("import", "final_model.pt", "--recipe", "theirs.toml", "--force", cwd=saved)
    untuned = ("--set", "pack.tune_tokens=0")
    golf("pack", "artifacts/theirs", "--cap", "60kB", *untuned, cwd=saved)
    golf("pack", "artifacts/theirs", "--curve", "--points", "2", *untuned, cwd=saved)
    (run / "notes.txt").write_text("keep me")
    assert {"artifact.bin", "ledger.json", "curve.json", "curve.png"} <= {path.name for path in run.iterdir()}
    refused = golf("import", "final_model.pt", "--recipe", "theirs.toml", cwd=saved, check=2).stderr
    assert "replace it with --force" in refused
    assert "--resume" not in refused
    golf("import", "final_model.pt", "--recipe", "theirs.toml", "--force", cwd=saved)
    assert {path.name for path in run.iterdir()} == {"checkpoint.safetensors", "recipe.toml", "notes.txt", ".lock"}


def test_an_import_that_fails_leaves_no_mixture_of_runs(saved, monkeypatch):
    golf("import", "final_model.pt", "--recipe", "theirs.toml", "--force", cwd=saved)
    run = saved / "artifacts" / "theirs"

    replace = durable.replace

    for name in ("recipe.toml", "checkpoint.safetensors"):
        (run / "result.json").write_text("{}")

        def refuse(path, *arguments, refused=name, **options):
            if path.name == refused:
                raise EnvironmentFailure("the disk is full")
            replace(path, *arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(durable, "replace", refuse)
            golf("import", "final_model.pt", "--recipe", "theirs.toml", "--force", cwd=saved, check=5)
        assert {path.name for path in run.iterdir()} <= {"notes.txt", ".lock"}


@pytest.mark.parametrize("content", [b"abc" * 100, b"hello world", b"\x80\x02.", b"", bytes(99)], ids=repr)
@pytest.mark.parametrize("name", ["noise.pt", "noise.safetensors"])
def test_noise_is_no_state_dict(saved, name, content):
    (saved / name).write_bytes(content)
    assert name in golf("import", name, "--recipe", "theirs.toml", "--force", cwd=saved, check=4).stderr


def test_a_folder_is_no_state_dict(saved):
    assert "is a folder" in golf("import", ".", "--recipe", "theirs.toml", "--force", cwd=saved, check=2).stderr


class _Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_file_is_not_run(saved, capfd):
    (saved / "evil.pt").write_bytes(pickle.dumps({"tok_emb.weight": _Evil()}))
    torch.save({"tok_emb.weight": _Evil()}, saved / "evil2.pt")
    for name in ("evil.pt", "evil2.pt"):
        done = golf("import", name, "--recipe", "theirs.toml", "--out", "evil", cwd=saved, check=4)
        assert "without running code" in done.stderr
    assert "executed" not in capfd.readouterr().out


def test_what_does_not_fit_or_is_not_there_gets_a_sentence(saved):
    done = golf("import", "final_model.pt", "--recipe", "tiny.toml", "--out", "other", cwd=saved, check=2)
    assert "has blocks.0.attn_scale, which the recipe's model has not" in done.stderr
    golf("import", "nothing.pt", "--recipe", "theirs.toml", "--out", "other", cwd=saved, check=2)
    (saved / "list.pt").write_bytes(b"")
    golf("import", "list.pt", "--recipe", "theirs.toml", "--out", "other", cwd=saved, check=4)
    assert not (saved / "other").exists()


@pytest.mark.parametrize("fails", ["save_checkpoint", "recipe_to_toml"])
def test_a_failed_import_leaves_a_folder_as_it_was(saved, fails, monkeypatch):
    def full(*_arguments):
        raise EnvironmentFailure("no space left on device")

    monkeypatch.setattr(f"golf.run.import_weights.{fails}", full)
    (saved / "mine").mkdir(exist_ok=True)
    (saved / "mine" / "notes.txt").write_text("keep me")
    (saved / "mine" / ".lock").touch()  # a run that was cleared: in a folder of other things nothing is trained
    for out, left in (("made/here", None), ("mine", {"notes.txt", ".lock"})):
        golf("import", "final_model.pt", "--recipe", "theirs.toml", "--out", out, cwd=saved, check=5)
        found = {path.name for path in (saved / out).iterdir()} if (saved / out).exists() else None
        assert found == left
    assert not (saved / "made").exists()
