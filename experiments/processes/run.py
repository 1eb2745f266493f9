"""One training by 1, 2 and 4 processes: the same losses, and how fast.

    python -m experiments.processes.run [--out FILE] [--recipe quickstart] [--steps 60] [--counts 1,2,4]

Every process has one thread. Losses are the training's at its last steps and the validation's at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from experiments.records import add_out_option, append, circumstances

RESULTS = Path(__file__).with_name("results.jsonl")


def measure(recipe: str, steps: int, count: int) -> dict[str, Any]:
    """What `golf train --nproc COUNT` writes about itself."""
    settings = [f"train.steps={steps}", f"train.eval_every={steps}", "train.log_every=10", "train.eval_tokens=8192"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "golf", "train", recipe, "--out", f"{folder}/run", "--nproc", str(count)]
        command += [part for setting in settings for part in ("--set", setting)]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        records = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
    return {
        "processes": count,
        "train_losses": [record["train_loss"] for record in records],
        "val_loss": records[-1]["val_loss"],
        # the second half: the first steps wait for processes to find each other
        "tokens_per_s": records[len(records) // 2]["tokens_per_s"],
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, RESULTS)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--counts", default="1,2,4")
    arguments = parser.parse_args()
    rows = [measure(arguments.recipe, arguments.steps, int(count)) for count in arguments.counts.split(",")]
    alone = rows[0]["train_losses"]
    for row in rows:
        row["largest_difference"] = max(abs(a - b) for a, b in zip(row["train_losses"], alone, strict=True))
        print(
            f"{row['processes']} processes: validation {row['val_loss']:.6f}, training losses within "
            f"{row['largest_difference']:.6f} of one process's, {row['tokens_per_s']:,} tokens/s"
        )
        append(arguments.out, circumstances() | {"recipe": arguments.recipe, "steps": arguments.steps} | row)


if __name__ == "__main__":
    main()
