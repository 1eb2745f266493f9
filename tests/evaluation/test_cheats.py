"""Ways to talk a verdict into a number; none passes, and what is left of a number is a lossless code's."""

import json
import lzma
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cheats import CLAIM, T, artifact, tokenizer
from cli import golf, golf_json

from golf.artifact import parse_artifact
from golf.contest.script import _evaluate
from golf.data import load_tokenizer, write_shard
from golf.data.model_proto import PieceType, build_model, parse_model
from golf.runtime.interrupt import StopFlag

TEXT = (Path(__file__).parents[1] / "golden" / "text.txt").read_text()[:6000] + "Größe \u2013 naïve café ½ ﬁne.\n" * 8
LETTERS = sorted(set(TEXT))


def likeliest(tokens, text=TEXT):
    """The token that a constant model should favour."""
    return int(np.bincount(tokens.encode(text)).argmax())


def same_length(char):
    return "a" * len(char.encode())


# How a normalizer may throw the text away; each by what it replaces.
NORMALIZERS = {
    "one letter for each byte": [(char, same_length(char)) for char in LETTERS],
    "one letter for each character": [(char, "a") for char in LETTERS],
    "letters by classes": [(c, "a" if c.isalpha() else " ") for c in LETTERS],
    "vowels": [(vowel, "a") for vowel in "eiouäöüïé"],
    "300 letters for a character": [(char, "a" * 300) for char in "et"],
    "a word for a word": [("the", "of"), ("and", "of"), ("to", "of")],
    "digits": [(digit, "0") for digit in "123456789"],
    "lower case": [(char, char.lower()) for char in LETTERS],
    "newlines": [("\n", " ")],
    "accents": [(a, b) for a, b in zip("öüïé\u2013½", "ouie-1", strict=True)],
    "spaces vanish": [(" ", "_")],
}
OPTIONS = {
    "the contest's own rules": {"normalization_rule_name": "nmt_nfkc"},
    "case folding": {"normalization_rule_name": "nmt_nfkc_cf"},
    "extra spaces": {"remove_extra_whitespaces": True},
    "a prefix": {"add_dummy_prefix": True},
    "no byte pieces": {"byte_fallback": False, "character_coverage": 0.98},
    "symbols of the user": {"user_defined_symbols": ["the ", "and", "e\n"]},
    "symbols of control": {"control_symbols": ["the", "and"], "byte_fallback": False},
    "unigram": {"model_type": "unigram", "vocab_size": 420},
    "words": {"model_type": "word", "byte_fallback": False},
}


def lossy(name):
    return tokenizer(TEXT, rules=NORMALIZERS.get(name, ()), **OPTIONS.get(name, {}))


def verdict_on(content, folder, *arguments, check):
    (folder / "cheat.bin").write_bytes(content)
    done = golf("verify", "cheat.bin", *arguments, "--json", cwd=folder, check=check)
    return json.loads(done.stdout)


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("name", [*NORMALIZERS, *OPTIONS])
def test_what_a_tokenizer_throws_away_is_counted(text, name):
    """No constant model comes near what xz needs, whatever its tokenizer leaves for it to predict."""
    tokens = lossy(name)
    content = artifact(tokens, likeliest(tokens), "text.txt")
    found = verdict_on(content, text, "--data", "text.txt", "--max-bpb", "1.5", check=3)
    least = 8 * len(lzma.compress(TEXT.encode())) / len(TEXT.encode())
    assert found["bytes"] <= len(TEXT.encode())
    assert found["bpb"] > 0.8 * least
    decoded = tokens.decode(tokens.encode(TEXT))
    assert (found["restoring_bits"] > 0) == (decoded != TEXT.encode())


@pytest.mark.parametrize("name", ["one letter for each byte", "newlines", "no byte pieces", "vowels", "case folding"])
def test_a_proof_restores_what_the_tokenizer_threw_away(text, name):
    tokens = lossy(name)
    content = artifact(tokens, likeliest(tokens), "text.txt")
    found = verdict_on(content, text, "--data", "text.txt", "--max-loss", "99", "--prove", str(4 * T), check=0)
    proof = found["proof"]
    assert proof["restored"] and proof["held"]
    assert proof["script_bytes"] > 0


def test_a_lossless_tokenizer_is_proved_without_a_script(text):
    tokens = load_tokenizer("bytes", b"")
    found = verdict_on(
        artifact(tokens, 4 + ord(" "), "text.txt"), text, "--data", "text.txt", "--max-loss", "99", "--prove", "200",
        check=0,
    )  # fmt: skip
    assert found["proof"]["restored"] and found["proof"]["held"]
    assert (found["restoring_bits"], found["proof"]["script_bytes"]) == (0, 0)
    assert found["bpb"] == found["contest_bpb"]


@pytest.mark.parametrize("name", ["one letter for each byte", "300 letters for a character", "lower case"])
def test_the_exported_script_says_the_same(text, name, monkeypatch, capsys):
    monkeypatch.chdir(text)
    tokens = lossy(name)
    (text / "cheat.bin").write_bytes(artifact(tokens, likeliest(tokens), "text.txt"))
    (text / "train_gpt.py").write_text("")
    code = _evaluate(Path("cheat.bin"), Path("train_gpt.py"), Path("text.txt"), "cpu", StopFlag(), sys.stdout)
    assert code == 7  # its claim is about no text that is here
    assert "restoring the text" in capsys.readouterr().out


def inflated(honest, *, by):
    """The same pieces with more bytes each; a tokenizer that encodes nothing, since shards are encoded already."""
    pieces = [
        replace(p, text=p.text + "▁" * by + str(i)) if p.type is PieceType.NORMAL else p
        for i, p in enumerate(parse_model(honest.serialized).pieces)
    ]
    return load_tokenizer("sentencepiece", build_model(pieces))


@pytest.fixture
def shards(text):
    honest = tokenizer(TEXT)
    folder = text / "shards"
    folder.mkdir()
    write_shard(folder / "text_val_000000.bin", np.concatenate([[1], honest.encode(TEXT)]).astype(np.uint16))
    (text / "honest.model").write_bytes(honest.serialized)
    return honest


def test_pieces_with_bytes_of_their_own_say_nothing_about_shards(text, shards):
    cheat = inflated(shards, by=300)
    content = artifact(cheat, likeliest(shards), "text.txt")
    given = ("--data", "shards")
    refused = verdict_on(content, text, *given, "--max-bpb", "1.5", check=2)["error"]["message"]
    assert "--tokenizer" in refused and "--max-bpb cannot be held" in refused
    other = verdict_on(content, text, *given, "--tokenizer", "honest.model", check=2)["error"]["message"]
    assert "another tokenizer" in other
    found = verdict_on(content, text, *given, "--max-loss", "99", check=0)
    assert (found["bpb"], found["bytes"]) == (None, None)
    known = verdict_on(
        artifact(shards, likeliest(shards), "text.txt"), text, *given, "--tokenizer", "honest.model", "--max-bpb", "99",
        check=0,
    )  # fmt: skip
    assert known["bytes"] <= len(TEXT.encode()) and known["counted_by"] == "honest.model"


def test_evaluate_says_nothing_about_bytes_of_shards_either(text, shards):
    (text / "cheat.bin").write_bytes(artifact(inflated(shards, by=300), likeliest(shards), "text.txt"))
    found = golf_json("evaluate", "cheat.bin", "--data", "shards", cwd=text)
    assert (found["bpb"], found["bytes"], found["contest_bpb"]) == (None, None, None)


BYTES = load_tokenizer("bytes", b"")
BY_HEART = "a" * 200


def true_claim(folder, *settings, data="text.txt", content=None):
    """The claim that the constant model of bytes may honestly make about its own slice."""
    content = content or artifact(BYTES, 4 + ord("a"), data, *settings)
    found = verdict_on(content, folder, check=7)
    from golf.evaluation.find_text import TextChoice, TextFinder
    from golf.evaluation.rebuild import rebuild
    from golf.evaluation.score_text import text_sha256

    rebuilt = rebuild(parse_artifact(content))
    choice = TextChoice(tokens=rebuilt.recipe.verify.tokens)
    here = TextFinder(rebuilt, choice, lambda: None, print).verifiers()
    score = golf_json("evaluate", "cheat.bin", "--tokens", str(choice.limit), cwd=folder)
    digest = text_sha256(here.text, BYTES, score["tokens"])
    assert found["own"]["tokens"] >= score["tokens"]
    return replace(
        CLAIM, val_loss=score["loss"], bpb=score["bpb"], tokens=score["tokens"], bytes=score["bytes"],
        text_sha256=digest,
    )  # fmt: skip


@pytest.fixture
def by_heart(text, monkeypatch):
    """A text that begins with what the model knows by heart, as only its own slice shows."""
    monkeypatch.chdir(text)
    (text / "text.txt").write_text(TEXT)
    (text / "own.txt").write_text(BY_HEART + TEXT)
    return text


SLICE = ("verify.tokens=64", "data.val_path=own.txt")


def test_a_claim_about_what_is_known_by_heart_holds_for_that_slice_alone(by_heart):
    claim = true_claim(by_heart, *SLICE)
    content = artifact(BYTES, 4 + ord("a"), "text.txt", *SLICE, claim=claim)
    alone = verdict_on(content, by_heart, check=0)
    assert alone["claim"]["tokens"] == 64 and alone["claim"]["chosen_by"] == "the artifact"
    (by_heart / "cheat.bin").write_bytes(content)
    assert "claim: 64 tokens" in golf("verify", "cheat.bin", cwd=by_heart).stdout
    for mine in ((), ("--data", "text.txt"), ("--data", "own.txt"), ("--data", "text.txt", "--tokens", "128")):
        assert verdict_on(content, by_heart, *mine, "--max-bpb", "1.5", check=3)["bpb"] > 4


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"val_loss": 0.01}, 3),
        ({"bpb": 0.01}, 3),
        ({"bytes": 99_999}, 3),
        ({"restoring_bits": 77, "bpb": 0.01}, 3),
        ({"restoring_bits": 123_456_789}, 3),
        ({"restoring_bits": 77, "counted_bytes": 9}, 3),
        ({"text_sha256": "0" * 64}, 7),
        ({"text_sha256": "0" * 64, "val_loss": 0.01}, 7),
        ({"tokens": 1 << 40}, 3),
        ({"tokens": 32}, 7),
        ({"tolerance": 1e9, "val_loss": 0.01}, 4),
    ],
)
def test_claims_that_are_not_true(by_heart, changes, code):
    claim = true_claim(by_heart, *SLICE)
    verdict_on(artifact(BYTES, 4 + ord("a"), "text.txt", *SLICE, claim=replace(claim, **changes)), by_heart, check=code)


def test_an_artifact_that_claims_nothing_is_verified_by_nothing(text):
    content = artifact(BYTES, 4 + ord("a"), "text.txt", "budget.max_bpb=99", claim=None)
    assert verdict_on(content, text, check=7)["loss_held"] is False
    verdict_on(content, text, "--caps-only", check=0)


def test_a_claim_of_an_old_version_does_not_count_what_is_lost(text, monkeypatch):
    """It is held as before where restoring the text costs less than its tolerance, and fails where it costs more."""
    monkeypatch.chdir(text)
    tokens = lossy("one letter for each byte")
    favourite = likeliest(tokens)
    content = artifact(tokens, favourite, "text.txt", claim=None, version=8)
    found = verdict_on(content, text, "--max-loss", "99", check=0)["own"]
    from hashlib import sha256

    from golf.evaluation.find_text import TextChoice, TextFinder
    from golf.evaluation.rebuild import rebuild

    rebuilt = rebuild(parse_artifact(content))
    here = TextFinder(rebuilt, TextChoice(), lambda: None, print).verifiers()
    decoded = tokens.decode(here.text.tokens[: found["tokens"] + 1])
    claim = replace(
        CLAIM, val_loss=found["loss"], bpb=found["contest_bpb"], tokens=found["tokens"], bytes=len(decoded),
        text_sha256=sha256(decoded).hexdigest(),
    )  # fmt: skip
    forged = artifact(tokens, favourite, "text.txt", "verify.tokens=100000", claim=claim, version=8)
    failed = verdict_on(forged, text, check=3)
    assert [c["name"] for c in failed["checks"] if c["passed"] is False] == ["bits that restore the text"]


def test_a_split_of_the_artifacts_own_is_not_the_verifiers(by_heart):
    """Its recipe names a validation text, a share and a field; the verifier's text is read whole."""
    settings = ("data.val_path=own.txt", "data.text_field=secret", "data.val_fraction=0.001")
    content = artifact(BYTES, 4 + ord("a"), "text.txt", *settings)
    found = verdict_on(content, by_heart, "--data", "text.txt", "--max-bpb", "1.5", check=3)
    assert found["bytes"] > 0.95 * len(TEXT.encode())


def test_a_cap_that_only_the_artifact_names_is_said_to_be_its_own(text):
    (text / "cheat.bin").write_bytes(artifact(BYTES, 4 + ord("a"), "text.txt", "budget.cap=1000000000"))
    sizes = golf_json("verify", "cheat.bin", "--caps-only", cwd=text)["checks"][0]
    assert sizes["whose"] == "artifact"
    golf("verify", "cheat.bin", "--caps-only", "--cap", "100", cwd=text, check=3)


def test_the_constant_model_is_the_best_cheat_there_is(text):
    """What the tests above hold against: on its favourite token alone it is nearly free."""
    (text / "easy.txt").write_text("a" * 3000)
    content = artifact(BYTES, 4 + ord("a"), "text.txt")
    found = verdict_on(content, text, "--data", "easy.txt", "--max-bpb", "0.1", check=0)
    assert found["bpb"] < 0.05


def test_other_text_of_the_same_tokens_is_measured_for_itself(text, monkeypatch):
    """A claim about one field of the records says nothing about another field, though the tokens are the same."""
    monkeypatch.chdir(text)
    tokens = lossy("one letter for each byte")
    records = [{"text": part, "id": "".join(map(same_length, part))} for part in TEXT.splitlines(keepends=True)]
    (text / "d.jsonl").write_text("\n".join(map(json.dumps, records)))
    settings = ("data.text_field=id", "data.val_path=v.txt", "verify.tokens=100000")
    content = artifact(tokens, likeliest(tokens), "text.txt", *settings, claim=None)
    alone = verdict_on(content, text, "--data", "d.jsonl", "--text-field", "id", "--max-bpb", "1.5", check=0)
    from golf.evaluation.find_text import TextChoice, TextFinder
    from golf.evaluation.rebuild import rebuild
    from golf.evaluation.score_text import text_sha256

    rebuilt = rebuild(parse_artifact(content))
    choice = TextChoice(data=Path("d.jsonl"), text_field="id")
    here = TextFinder(rebuilt, choice, lambda: None, print).verifiers()
    claim = replace(
        CLAIM, val_loss=alone["loss"], bpb=alone["bpb"], tokens=alone["tokens"], bytes=alone["bytes"],
        text_sha256=text_sha256(here.text, tokens, alone["tokens"]),
    )  # fmt: skip
    forged = artifact(tokens, likeliest(tokens), "text.txt", *settings, claim=claim)
    found = verdict_on(forged, text, "--data", "d.jsonl", "--max-bpb", "1.5", check=3)
    assert found["claim_held"] and found["claim"]["bpb"] < 1.5 < found["own"]["bpb"]


def test_a_proof_on_shards_is_of_tokens_alone(text, shards):
    content = artifact(inflated(shards, by=300), likeliest(shards), "text.txt")
    found = verdict_on(content, text, "--data", "shards", "--max-loss", "99", "--prove", "64", check=0)
    assert found["proof"]["restored"] and found["proof"]["text_bytes"] is None
    assert "bytes of text" not in golf("verify", "cheat.bin", "--data", "shards", "--max-loss", "99", cwd=text).stdout


def test_a_claim_does_not_decide_how_much_is_read(text):
    huge = replace(CLAIM, tokens=1 << 40)
    content = artifact(BYTES, 4 + ord("a"), "text.txt", "verify.tokens=1000000000000", claim=huge)
    (text / "cheat.bin").write_bytes(content)
    refused = golf("verify", "cheat.bin", "--data", "text.txt", "--max-loss", "99", cwd=text, check=4)
    assert "FLOPs" in refused.stderr
