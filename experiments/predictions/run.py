"""The packed size that a training predicts, beside what a pack makes of it.

    python -m experiments.predictions.run RUN... [--out FILE] [--caps 0.3,0.5,0.8,2]

Caps are shares of the size at which more bytes stop paying, as predicted; beyond 1 the cap does not bind. Packs are by
rounding alone: tuning keeps to the cap too.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from experiments.opened import encoder_of, opened
from experiments.records import Record, add_out_option, append, circumstances
from golf.optim import Optimizers
from golf.run.folder import Run
from golf.training.diagnostics import predict_size
from golf.training.state import TrainingState

RESULTS = Path(__file__).with_name("results.jsonl")
CPU = torch.device("cpu")


def compare(run: Path, shares: list[float]) -> list[Record]:
    """Predicted and real size at every cap; printed on the way."""
    packing = opened(run, ["pack.tune_tokens=0", "verify.tokens=8192"])
    encoder = encoder_of(packing)
    recipe, model = packing.inputs.recipe, packing.inputs.model
    session = TrainingState(recipe, Run(run), packing.inputs.data, model, Optimizers(recipe.optimizer, model), CPU)
    wanted, found = predict_size(session).wanted_bytes, []
    for share in shares:
        cap = round(share * wanted)
        session.recipe = recipe.model_copy(update={"budget": recipe.budget.model_copy(update={"cap": cap})})
        predicted, real = predict_size(session).bytes, packing.best(encoder, cap).kept.solution.size
        error = predicted / real - 1
        found.append({"share": share, "cap": cap, "predicted": predicted, "packed": real, "error": error})
        print(f"{run.name}: cap {cap:,}, predicted {predicted:,}, packed {real:,}, {error:+.2%}", flush=True)
    return found


def main() -> None:
    """Compare, print the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    add_out_option(parser, RESULTS)
    parser.add_argument("--caps", default="0.3,0.5,0.8,2")
    arguments = parser.parse_args()
    shares = [float(share) for share in arguments.caps.split(",")]
    every = []
    for run in arguments.runs:
        for row in compare(run, shares):
            append(arguments.out, {"checkpoint": run.name} | circumstances() | row)
            every.append(abs(row["error"]))
    print(f"median error {statistics.median(every):.2%}, largest {max(every):.2%}")


if __name__ == "__main__":
    main()
