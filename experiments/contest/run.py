"""From text to a checked submission, every step as a user types it, and the export run where golf is not installed.

    python -m experiments.contest.run [--out FILE] [--steps 200] [--seeds 3]

Needs ../shared/data (FineWeb sample and the contest's tokenizer). The bare environment is a fresh virtual one with the
export's requirements.txt and nothing else. Preparation is timed on the sample repeated, since alone it takes a second.
Every seed is trained and packed; figures of one model are the first seed's, and its artifact is the one that ships.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

from experiments.records import add_out_option, append, circumstances
from golf.run.log_lines import parse_log

RESULTS = Path(__file__).with_name("results.jsonl")
SHARED = Path(__file__).parents[3] / "shared" / "data"
SAMPLE, MODEL = SHARED / "fineweb_sample.txt", SHARED / "fineweb_1024_bpe.model"
# Copies of the sample that preparation is timed on.
_COPIES = 40
RECIPE = """
name = "contest"
seed = 1
[budget]
cap = "400kB"
[data]
source = "shards"
path = "data"
[tokenizer]
path = "data/tokenizer.model"
vocab_size = 1024
[model]
layers = 4
width = 128
heads = 4
kv_heads = 2
[optimizer]
lr = 0.02
embedding_lr = 0.04
[train]
steps = {steps}
batch_tokens = 2048
sequence_length = 128
eval_every = 100
eval_tokens = 8192
[verify]
tokens = 40_000
"""


class Steps:
    """Runs commands in a folder, and keeps their seconds."""

    def __init__(self, folder: Path) -> None:
        """Nothing done yet."""
        self.folder = folder
        self.seconds: dict[str, float] = {}

    def run(self, name: str, *command: object, allowed: tuple[int, ...] = (0,)) -> str:
        """Standard output of a command; what it said, and an end, if it fails."""
        began = time.monotonic()
        done = subprocess.run([*map(str, command)], cwd=self.folder, capture_output=True, text=True, check=False)
        self.seconds[name] = round(time.monotonic() - began, 2)
        print(f"{name:10} {self.seconds[name]:7.1f} s", flush=True)
        if done.returncode not in allowed:
            raise SystemExit(f"{name} failed with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def golf(self, name: str, *arguments: object, allowed: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """The JSON that a golf command prints."""
        return json.loads(self.run(name, sys.executable, "-m", "golf", *arguments, "--json", allowed=allowed))


def go(steps: Steps, count: int, seeds: int) -> dict[str, Any]:
    """All steps; the figures."""
    many = steps.folder / "many"
    many.mkdir()
    for copy in range(_COPIES):
        (many / f"{copy}.txt").write_bytes(f"{copy}\n".encode() + SAMPLE.read_bytes())
    timed = steps.golf("prepare x40", "data", "prepare", many, "--tokenizer", MODEL, "--out", "timed")
    steps.golf("prepare", "data", "prepare", SAMPLE, "--tokenizer", MODEL, "--out", "data", "--val-fraction", "0.1")
    (steps.folder / "contest.toml").write_text(RECIPE.format(steps=count))
    runs = [f"run-{seed}" for seed in range(1, seeds + 1)]
    trained, packed = zip(*(_train_and_pack(steps, run) for run in runs), strict=True)
    artifact = f"{runs[0]}/artifact.bin"
    verified = steps.golf("verify", "verify", artifact)
    evaluated = steps.golf("evaluate", "evaluate", artifact, "--stride", "64")
    who = ("--author", "golf", "--github-id", "golf", "--blurb", "A check of golf itself.")
    exported = steps.golf("export", "export", *runs, "--out", "submission", *who)
    environment = steps.folder / "bare"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    steps.run("install", python, "-m", "pip", "install", "--quiet", "-r", "submission/requirements.txt")
    steps.run("no golf", python, "-c", "import golf", allowed=(1,))
    bare = parse_log(steps.run("bare run", python, "submission/train_gpt.py"))
    # one seed is no record
    checked = steps.golf("check", "check", "submission", allowed=(0, 3))
    assert bare.val_bpb is not None
    prepared_text = sum(split["text_bytes"] for split in timed["splits"].values())
    prepared_tokens = sum(split["tokens"] for split in timed["splits"].values())
    return {
        "prepare_mb_per_s": prepared_text / 1e6 / timed["encode_seconds"],
        "prepare_tokens_per_s": prepared_tokens / timed["encode_seconds"],
        "trained_bpb": [each["val_bpb"] for each in trained],
        "packed_bpb": [each["bpb"] for each in packed],
        "verified_bpb": verified["bpb"],
        "stride_64_bpb": evaluated["bpb"],
        "bare_bpb": bare.val_bpb,
        "bare_minus_verified": bare.val_bpb - verified["bpb"],
        "code_plain": exported["code_plain"],
        "code_compressed": exported["code_compressed"],
        "total": exported["total"],
        "cap": exported["cap"],
        "findings": {finding["rule"]: finding["state"] for finding in checked["findings"]},
        "seconds": steps.seconds,
    }


def _train_and_pack(steps: Steps, run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What training said and what packing said of one seed, `run-SEED`."""
    number = run.rpartition("-")[2]
    trained = steps.golf(f"train {number}", "train", "contest.toml", "--set", f"seed={number}", "--out", run)
    return trained, steps.golf(f"pack {number}", "pack", run, "--code-bytes", "auto")


def main() -> None:
    """Go, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, RESULTS)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if not (SAMPLE.exists() and MODEL.exists()):
        raise SystemExit("skipped: ../shared/data is not here")
    with tempfile.TemporaryDirectory() as folder:
        found = go(Steps(Path(folder)), arguments.steps, arguments.seeds)
    append(arguments.out, circumstances() | {"steps": arguments.steps} | found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
