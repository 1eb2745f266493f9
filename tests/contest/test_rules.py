"""The contest's rules on made-up folders: one for every way to break one."""

import base64
import json
import lzma
import math
import zlib

import pytest
import torch
from cli import golf, golf_json

from golf.contest.rules.folder import read_submission
from golf.contest.rules.judge import judge
from golf.contest.rules.metric import TOKENS_PER_BYTE
from golf.contest.rules.probes import probe_model
from golf.contest.rules.statistics import welch_one_sided
from golf.errors import UsageError
from golf.model import Transformer, initialize
from golf.recipe import Model
from golf.run.log_lines import parse_log

LOSSES = {1: 2.05, 2: 2.051, 3: 2.049}
RATIO = TOKENS_PER_BYTE["sp1024"]
SCRIPT = """
import torch

def train(model, train_loader, optimizer):
    for x, y in train_loader:
        loss = model(x, y)
        loss.backward()
        optimizer.step()

def evaluate(model, val_tokens):
    with torch.no_grad():
        return model(val_tokens)
"""


def bpb(loss, ratio=RATIO):
    return loss / math.log(2) * ratio


def log(seed, loss, *, seconds=590.0, total=None, ratio=RATIO, extra=""):
    total = f"Total submission size: {total} bytes\n" if total else ""
    return (
        f"seed:{seed}\nstep:10/10 train_loss:2.0 train_time:{1000 * seconds:.0f}ms step_avg:40.0ms\n{extra}{total}"
        f"final_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb(loss, ratio):.8f} eval_time:200000ms\n"
    )


class Folder:
    """A sound submission, to be broken one way at a time."""

    def __init__(self, place):
        self.place = place
        self.card = {
            "author": "A", "github_id": "a", "name": "N", "blurb": "B", "date": "2026-04-01", "track": "10min_16mb",
            "hardware": "8xH100", "val_loss": 2.05, "val_bpb": bpb(2.05), "seeds": [1, 2, 3],
            "seed_results": {
                str(seed): {"val_loss": loss, "val_bpb": bpb(loss), "artifact_bytes": 1000, "eval_time_s": 200.0}
                for seed, loss in LOSSES.items()
            },
        }  # fmt: skip
        self.script, self.model = SCRIPT, b"\0" * 1000
        self.logs = {seed: log(seed, loss) for seed, loss in LOSSES.items()}
        self.more = {"README.md": b"# N\n"}

    def states(self, profile="strict", record=None, cap=16_000_000):
        (self.place / "train_gpt.py").write_text(self.script)
        (self.place / "model.bin").write_bytes(self.model)
        code = len(self.script.encode())
        sizes = {"bytes_code": code, "bytes_model": len(self.model), "bytes_total": code + len(self.model)}
        (self.place / "submission.json").write_text(json.dumps(sizes | self.card))
        for seed, text in self.logs.items():
            (self.place / f"train_seed{seed}.log").write_text(text)
        for name, content in self.more.items():
            (self.place / name).write_bytes(content)
        found = judge(read_submission(self.place), cap=cap, record=record, profile=profile)
        self.evidence = {finding.rule: finding.evidence for finding in found}
        return {finding.rule: finding.state for finding in found}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.mark.parametrize("profile", ["strict", "as-judged"])
def test_a_sound_folder_breaks_nothing(folder, profile):
    states = folder.states(profile, record=[2.06, 2.061, 2.059])
    assert "FAIL" not in states.values()
    assert {rule for rule, state in states.items() if state == "CANNOT TELL"} == {
        "size.log", "model.sound", "model.normalised", "model.causal",
    }  # fmt: skip


def test_missing_files_are_named(folder):
    folder.more.clear()
    folder.logs.clear()
    assert folder.states()["files.present"] == "FAIL"
    assert "README.md" in folder.evidence["files.present"] and "log" in folder.evidence["files.present"]


def test_code_beside_the_script_counts_where_rules_are_strict(folder):
    folder.more["helper.py"] = b"#" * 5000
    assert folder.states()["files.code"] == "FAIL"
    assert folder.states(cap=6000)["size.cap"] == "FAIL"
    assert folder.states("as-judged", cap=6000)["size.cap"] == "PASS"
    assert folder.states("as-judged")["files.code"] == "CANNOT TELL"


def test_the_cap_is_decimal(folder):
    folder.model = b"\0" * (16_000_001 - len(SCRIPT.encode()))
    assert folder.states()["size.cap"] == "FAIL"
    assert "1 over 16,000,000" in folder.evidence["size.cap"] and "16 MiB" in folder.evidence["size.cap"]
    folder.model = folder.model[1:]
    assert folder.states()["size.cap"] == "PASS"


def test_a_file_of_unknown_kind_counts_as_model(folder):
    folder.more["weights"] = b"\0" * 5000
    assert folder.states(cap=5000)["size.cap"] == "FAIL"


NO_TEXT = {
    "binary": (bytes(range(256)) * 20, "byte 128 is not UTF-8"),
    "zeros": (b"\0" * 5000, "it holds a zero byte at 0"),
    "latin": ("grün\n".encode("latin-1") * 1000, "byte 2 is not UTF-8"),
    "half UTF-16": (b"\xff\xfe" + b"\x00\xd8" * 2000, "byte 2 is not UTF-16"),
}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_a_log_that_is_no_text_is_not_called_code(folder, kind):
    content, reason = NO_TEXT[kind]
    folder.more["train_seed4.log"] = content
    states = folder.states()
    assert (states["files.code"], states["files.logs"], states["files.present"]) == ("PASS", "FAIL", "PASS")
    assert folder.evidence["files.logs"] == f"train_seed4.log is no text: {reason}; counted as model"
    assert folder.states(cap=5000)["size.cap"] == "FAIL"  # weights may be called a log
    judged = folder.states("as-judged")
    assert (judged["files.code"], judged["files.logs"]) == ("PASS", "CANNOT TELL")
    folder.logs.clear()
    for seed in LOSSES:
        (folder.place / f"train_seed{seed}.log").unlink()
    assert folder.states("as-judged")["files.present"] == "FAIL"
    assert "a train log" in folder.evidence["files.present"]


def test_a_text_that_is_no_log_is_not_called_code(folder):
    folder.more["notes.txt"] = b"thoughts\n" * 100
    states = folder.states()
    assert (states["files.code"], states["files.logs"]) == ("PASS", "CANNOT TELL")
    assert "notes.txt says nothing of a training" in folder.evidence["files.logs"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_logs_are_read_as_they_were_written(folder, encoding):
    """PowerShell's redirection writes UTF-16; one byte that is wrong does not make a log unreadable."""
    folder.logs[1] = ""
    folder.more["train_seed1.log"] = ("läuft\n" + log(1, 2.9)).encode(encoding)
    states = folder.states()
    assert (states["files.logs"], states["card.log"]) == ("PASS", "FAIL")
    assert "seed 1" in folder.evidence["card.log"]


def test_bytes_that_are_not_the_files_are_named(folder):
    folder.card["bytes_model"] = 999
    assert folder.states()["size.card"] == "FAIL"
    assert "bytes_model is 999, the files have 1,000" in folder.evidence["size.card"]


@pytest.mark.parametrize(("said", "state"), [(1000, "PASS"), (1001, "FAIL")])
def test_the_logs_size_is_held_against_the_card(folder, said, state):
    folder.logs[1] = log(1, LOSSES[1], total=len(SCRIPT.encode()) + said)
    assert folder.states()["size.log"] == state


def test_one_total_is_of_one_seed(folder):
    """Seeds differ in size: another log's is no contradiction, but one over the cap is."""
    for entry in folder.card["seed_results"].values():
        del entry["artifact_bytes"]
    code = len(SCRIPT.encode())
    folder.logs[1] = log(1, LOSSES[1], total=code + 1000)
    folder.logs[2] = log(2, LOSSES[2], total=code + 1700)
    assert folder.states()["size.log"] == "PASS"
    folder.logs[1] = log(1, LOSSES[1], total=code + 900)
    assert folder.states()["size.log"] == "CANNOT TELL"
    assert folder.states(cap=code + 1600)["size.log"] == "FAIL"


@pytest.mark.parametrize("key", ["github_id", "name", "val_bpb"])
def test_what_is_asked_for_is_there_and_what_is_related_may_lack(folder, key):
    for related in ("author", "hardware", "blurb", "date", "track"):
        del folder.card[related]
    assert folder.states()["card.schema"] == "PASS"
    assert "not there: author" in folder.evidence["card.schema"]
    del folder.card[key]
    assert (folder.states()["card.schema"], folder.states("as-judged")["card.schema"]) == ("FAIL", "CANNOT TELL")


def test_a_track_without_a_limit_has_no_clock(folder):
    folder.logs[1] = log(1, LOSSES[1], seconds=4000.0)
    assert folder.states()["clock.training"] == "FAIL"
    folder.card["track"] = "non-record-unlimited-compute-16mb"
    assert folder.states()["clock.training"] == "CANNOT TELL"


def test_a_log_of_no_seed_may_be_of_another_run(folder):
    folder.more["train_v1.log"] = log(9, 2.2, seconds=2400.0).encode()
    assert folder.states()["clock.training"] == "FAIL"
    assert folder.states("as-judged")["clock.training"] == "CANNOT TELL"


@pytest.mark.parametrize("value", [None, "", "2.05", float("nan"), -1, True])
def test_the_cards_keys_have_their_kinds(folder, value):
    folder.card["val_bpb" if not isinstance(value, str) or value else "author"] = value
    assert folder.states()["card.schema"] == "FAIL"


def test_a_card_that_is_no_json_is_said(folder):
    folder.states()
    (folder.place / "submission.json").write_text("{")
    found = judge(read_submission(folder.place), cap=10**9, record=None, profile="strict")
    assert next(f for f in found if f.rule == "card.schema").evidence.startswith("submission.json is no JSON")


def test_the_best_seed_is_not_the_mean(folder):
    folder.card |= {"val_loss": 2.049, "val_bpb": bpb(2.049)}
    assert folder.states()["card.log"] == "FAIL"
    assert "the best seed's" in folder.evidence["card.log"]
    assert folder.states("as-judged")["card.log"] == "CANNOT TELL"  # merged records have it


def test_a_loss_that_is_not_the_logs_is_named(folder):
    folder.card["seed_results"]["2"]["val_loss"] = 2.04
    assert folder.states()["card.log"] == "FAIL"
    assert "seed 2" in folder.evidence["card.log"]


@pytest.mark.parametrize(
    ("factor", "mistake"), [(1.167, "leading spaces"), (1.041, "byte tokens"), (1.09, "transformed")]
)
def test_wrong_denominators_are_recognised(folder, factor, mistake):
    ratio = RATIO / factor
    folder.logs = {seed: log(seed, loss, ratio=ratio) for seed, loss in LOSSES.items()}
    folder.card["val_bpb"] = bpb(2.05, ratio)
    assert folder.states()["metric.denominator"] == "FAIL"
    assert mistake in folder.evidence["metric.denominator"]


def test_denominators_that_differ_between_results_fail(folder):
    folder.logs[2] = log(2, LOSSES[2], ratio=RATIO * 1.05)
    assert folder.states()["metric.denominator"] == "FAIL"


def test_an_unknown_tokenizer_cannot_be_told(folder):
    folder.logs = {seed: log(seed, loss, ratio=0.2) for seed, loss in LOSSES.items()}
    folder.card["val_bpb"] = bpb(2.05, 0.2)
    assert folder.states()["metric.denominator"] == "CANNOT TELL"


def test_one_seed_is_not_three(folder):
    for seed in (2, 3):
        del folder.logs[seed]
    assert folder.states()["seeds.count"] == "FAIL"
    assert folder.states("as-judged")["seeds.count"] == "PASS"


@pytest.mark.parametrize(
    ("record", "state"),
    [
        (None, "CANNOT TELL"),
        ([2.06, 2.061, 2.059], "PASS"),
        ([2.053, 2.052, 2.054], "FAIL"),
        ([2.03, 2.09, 2.06], "FAIL"),
    ],
)
def test_a_record_needs_its_margin_and_its_certainty(folder, record, state):
    assert folder.states(record=record)["seeds.record"] == state


def test_training_time_counts_every_use_of_its_data(folder):
    folder.logs[1] = log(1, LOSSES[1], extra="clock calibrate_time:15000ms\n")
    assert folder.states()["clock.training"] == "FAIL"
    assert folder.states("as-judged")["clock.training"] == "PASS"
    folder.logs[1] = log(1, LOSSES[1], seconds=600.1)
    assert folder.states("as-judged")["clock.training"] == "FAIL"


def test_evaluation_has_its_clock(folder):
    folder.card["seed_results"]["1"]["eval_time_s"] = 601
    assert folder.states()["clock.evaluation"] == "FAIL"


TRAINS_ON_VALIDATION = """
def adapt(model, val_tokens, optimizer):
    for start in range(0, len(val_tokens), 1024):
        window = val_tokens[start : start + 1024]
        loss = model(window)
        loss.backward()
        optimizer.step()
"""
CALIBRATES_ON_VALIDATION = """
def main():
    data = load("data/fineweb_val_*.bin")
    batches = [data[i] for i in range(16)]
    hessians = collect_hessians(model, batches)
"""
TARGET_IN_KEY = """
def lookup(cache, context, targets):
    full_key = (context * 36313) ^ (targets * 27191)
    return cache[full_key % SIZE]
"""


@pytest.mark.parametrize(
    ("rule", "code", "as_judged"),
    [
        ("code.validation", TRAINS_ON_VALIDATION, "CANNOT TELL"),
        ("code.validation", CALIBRATES_ON_VALIDATION, "CANNOT TELL"),
        ("code.targets", TARGET_IN_KEY, "FAIL"),
        ("code.network", "from urllib.request import urlopen\n", "CANNOT TELL"),
    ],
)
@pytest.mark.parametrize("pack", ["plain", "lzma", "zlib"])
def test_what_the_script_shows_is_seen_through_its_wrapping(folder, rule, code, as_judged, pack):
    if pack != "plain":
        compress = lzma.compress if pack == "lzma" else zlib.compress
        encoded = base64.b85encode(compress((SCRIPT + code).encode())).decode()
        code = f"import {pack}, base64\nexec({pack}.decompress(base64.b85decode({encoded!r})))\n"
    folder.script = SCRIPT + code
    assert folder.states()[rule] == "FAIL"
    assert "train_gpt.py:" in folder.evidence[rule]
    assert folder.states("as-judged")[rule] == as_judged


def test_raw_lzma_is_opened_and_what_cannot_be_opened_is_not_called_clean(folder):
    raw = {"format": lzma.FORMAT_RAW, "filters": [{"id": lzma.FILTER_LZMA2}]}
    packed = base64.b85encode(lzma.compress((SCRIPT + TRAINS_ON_VALIDATION).encode(), **raw)).decode()
    folder.script = f"import lzma as L,base64 as B\nexec(L.decompress(B.b85decode({packed!r}),format=L.FORMAT_RAW))\n"
    assert folder.states()["code.validation"] == "FAIL"
    folder.script = f"import brotli,base64\nexec(brotli.decompress(base64.b85decode({'0' * 5000!r})))\n"
    states = folder.states()
    assert [states[f"code.{rule}"] for rule in ("validation", "targets", "network")] == ["CANNOT TELL"] * 3


def test_bombs_are_not_opened(folder):
    bomb = base64.b85encode(zlib.compress(b"a\n" * (64 << 20))).decode()
    folder.script = f"import zlib,base64\nexec(zlib.decompress(base64.b85decode({bomb!r})))\n"
    assert folder.states()["code.validation"] == "CANNOT TELL"
    folder.script = "x = 1\n" * (1 << 20)
    assert folder.states()["code.parses"] == "FAIL"


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n    def f(self, x):\n        self.val_tokens = load()\n        self.model(x).backward()\n",
        "def rotate(y, cos):\n    key = y * cos\n    return key\n",
    ],
)
def test_plain_code_is_no_offence(folder, code):
    folder.script = SCRIPT + code
    states = folder.states()
    assert states["code.validation"] == states["code.targets"] == "PASS"


def test_a_key_that_is_mixed_in_place_is_seen(folder):
    folder.script = SCRIPT + "def f(key, target):\n    key ^= target * 27191\n    return key\n"
    assert folder.states()["code.targets"] == "FAIL"


@pytest.mark.parametrize(
    "text",
    [
        "step:" + "9" * 5000 + "/10 val_bpb:1..2 train_time:1..2ms eval_time:1..2ms\n",
        "seed:" + "9" * 5000 + "\n",
        "step:1/10 val_loss:inf val_bpb:1.2\nfinal_exact val_loss:nan val_bpb:nan\n",
        "a" * 2_000_000,
        "Code size" * 200_000,
    ],
)
def test_strange_logs_end_in_a_verdict(folder, text):
    folder.logs[1] = text
    folder.states()
    assert folder.evidence["card.log"]


@pytest.mark.parametrize("key", ["val_loss", "val_bpb", "bytes_total", "bytes_code", "bytes_model", "seed_results"])
@pytest.mark.parametrize(
    "value", [0, -1, True, 10**400, "50 kB", None, [], {"1": 3}, float("nan")], ids=lambda v: str(v)[:9]
)
def test_strange_cards_end_in_a_verdict(folder, key, value):
    folder.logs[1] = log(1, LOSSES[1], total=5000)
    folder.card[key] = value
    folder.states()


def test_losses_that_are_no_numbers_do_not_agree_with_a_card(folder):
    folder.logs = {seed: log(seed, math.nan) for seed in LOSSES}
    states = folder.states()
    assert (states["card.log"], states["seeds.count"]) == ("FAIL", "FAIL")


def test_copies_of_one_log_are_one_seed(folder):
    folder.logs = {seed: log(1, 2.05).replace("seed:1\n", "") for seed in LOSSES}
    assert folder.states()["seeds.count"] == "FAIL"


def test_without_a_model_the_stated_size_is_held(folder):
    folder.card |= {"bytes_total": 17_000_000, "bytes_code": None, "bytes_model": None}
    folder.states()
    (folder.place / "model.bin").unlink()
    found = judge(read_submission(folder.place), cap=16_000_000, record=None, profile="as-judged")
    size = next(finding for finding in found if finding.rule == "size.cap")
    assert size.state == "FAIL" and "1,000,000 over" in size.evidence


def test_a_model_that_is_stated_and_not_there_is_missed(folder):
    folder.states()
    (folder.place / "model.bin").unlink()
    found = judge(read_submission(folder.place), cap=16_000_000, record=None, profile="strict")
    card = next(finding for finding in found if finding.rule == "size.card")
    assert card.state == "FAIL" and "no model is shipped" in card.evidence


def test_weights_under_another_name_count_and_leftovers_are_named(folder):
    folder.more["notes.json"] = b"0" * 20_000
    (folder.place / "runs").mkdir()
    (folder.place / "runs" / "w.bin").write_bytes(b"0" * 3000)
    assert folder.states(cap=10_000)["size.cap"] == "FAIL"
    assert "not counted: runs (3,000 bytes)" in folder.evidence["size.cap"]


def test_the_running_step_may_end_as_judges_let_it(folder):
    folder.logs[1] = log(1, LOSSES[1], seconds=600.03)
    assert folder.states()["clock.training"] == "FAIL"
    assert folder.states("as-judged")["clock.training"] == "PASS"
    folder.logs[1] = "stopping_early: wallclock_cap train_time: 10.2m step:9/9\n" + log(1, LOSSES[1])
    assert folder.states("as-judged")["clock.training"] == "FAIL"


def test_a_later_exact_line_is_the_result():
    facts = parse_log(
        "final_int6_exact val_loss:2.1 val_bpb:1.25\n5041/20000 val_loss: 2.3492 val_bpb: 1.0734 train_time: 9.9m\n"
        "legal_ttt_exact val_loss:2.0 val_bpb:1.2\n"
    )
    assert (facts.val_bpb, facts.steps, facts.train_seconds) == (1.2, 5041, pytest.approx(594))


def test_a_script_that_is_no_python_is_said(folder):
    folder.script = "def (:\n"
    states = folder.states()
    assert states["code.parses"] == "FAIL" and states["code.validation"] == "CANNOT TELL"


def test_a_script_is_never_run(folder):
    folder.script = f"open({str(folder.place / 'ran')!r}, 'w')\n"
    folder.states()
    assert not (folder.place / "ran").exists()


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        read_submission(tmp_path / "nothing")


class Peeking(Transformer):
    """Its logits know the token that comes next."""

    def forward(self, tokens):
        logits = super().forward(tokens)
        following = torch.roll(tokens, -1, dims=1)
        return logits + torch.nn.functional.one_hot(following, self.vocab_size)


class Broken(Transformer):
    """Its logits are not finite."""

    def forward(self, tokens):
        return super().forward(tokens) + math.inf


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(Transformer, ("PASS", "PASS")), (Peeking, ("PASS", "FAIL")), (Broken, ("FAIL", "FAIL"))],
)
def test_probes_see_what_a_model_does(kind, expected):
    model = kind(Model(layers=2, width=32, heads=2, kv_heads=1), 300)
    initialize(model, seed=1)
    assert tuple(finding.state for finding in probe_model(model)) == expected


def test_welch_agrees_with_known_values():
    """Student's t by its closed forms: one degree of freedom is Cauchy's, two has a square root."""
    assert welch_one_sided([0.0, 2.0], [1.0 + 3.0]) == pytest.approx(0.5 - math.atan(3.0) / math.pi, abs=1e-9)
    three = [-(1.5**0.5), 0.0, 1.5**0.5]  # variance 1.5 over 3 values: standard error sqrt(.5)
    t = 2.0 / 0.5**0.5
    assert welch_one_sided(three, [2.0]) == pytest.approx(0.5 - t / (2 * (2 + t * t) ** 0.5), abs=1e-9)


def test_the_command_prints_all_rules_and_fails_with_3(folder):
    folder.more.clear()
    folder.states()
    done = golf("check", folder.place, cwd=folder.place, check=3)
    assert "files.present" in done.stdout and "breaks files.present" in done.stderr
    found = golf_json("check", folder.place, cwd=folder.place, check=3)
    assert {"rule": "files.code", "state": "PASS", "evidence": "train_gpt.py is the only code"} in found["findings"]


def test_the_code_counts_as_it_is_shipped(folder):
    """A size of compressed code is no size of the folder: strict rules add the script's own bytes."""
    folder.script += "#" * 90_000
    folder.card |= {"bytes_total": 15_990_000, "bytes_code": 30_000, "bytes_model": None}
    folder.states()
    (folder.place / "model.bin").unlink()
    found = read_submission(folder.place)
    states = {}
    for profile in ("strict", "as-judged"):
        findings = judge(found, cap=16_000_000, record=None, profile=profile)
        states[profile] = next(finding for finding in findings if finding.rule == "size.cap")
    assert (states["strict"].state, states["as-judged"].state) == ("FAIL", "PASS")
    assert "with the code as it is shipped" in states["strict"].evidence


def test_judges_took_logs_of_reruns(folder):
    folder.card["seed_results"]["2"]["val_loss"] = 2.04
    folder.logs[1] = log(1, LOSSES[1], total=len(SCRIPT.encode()) + 1001)
    folder.card["bytes_code"] = 1
    strict, judged = folder.states(), folder.states("as-judged")
    for rule in ("card.log", "size.log", "size.card"):
        assert (strict[rule], judged[rule]) == ("FAIL", "CANNOT TELL")
