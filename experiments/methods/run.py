"""What each method of compressing loses at the same byte budget, and which of them `golf pack` would have tried.

    python -m experiments.methods.run RUN... [--rates 1.2,2,2.6,3.5] [--out FILE] [--set SECTION.KEY=VALUE]

Every method fills the budget of every rate (bits a weight of the whole file) and is measured on held-out training text,
by which a pack chooses, and as re-read from disk on the validation text, by which nothing is chosen. A run's line says
how many tokens a parameter it was trained on: models that were hardly trained flatter a packer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from experiments.opened import encoder_of, opened, validation
from experiments.records import Record, add_out_option, append, circumstances, read
from golf.errors import CapError
from golf.packing.finetune_to_budget import fine_tuner
from golf.packing.measure import score_as_written
from golf.packing.methods import Case, Method, Methods, methods, text_share
from golf.packing.pack import Packing
from golf.packing.search import Candidate, Search

RESULTS = Path(__file__).with_name("results.jsonl")
RATES = "1.2,2,2.6,3.5"
# Rounding alone of both kinds, with factors and without, and what fine-tuning makes of plain integers.
METHODS = (
    Method("uniform", "off", fine_tune=True),
    Method("trellis", "off"),
    Method("uniform", "auto"),
    Method("trellis", "auto"),
)


def compare(run: Path, rates: list[float], settings: list[str], done: set[tuple[str, float]]) -> Iterator[Record]:
    """Rows of one run, rate by rate."""
    rates = [rate for rate in rates if (run.name, rate) not in done]
    if not rates:
        return
    packing = opened(run, settings)
    inputs, encoder = packing.inputs, encoder_of(packing)
    float_loss = validation(packing, inputs.model).loss
    parameters = sum(p.numel() for p in inputs.model.parameters())
    for rate in rates:
        byte_budget = round(rate * encoder.weights / 8)
        case = Case.of(inputs, byte_budget)
        plan = Methods(METHODS, {}, case.tokens, text_share(inputs.recipe.pack, case))
        would_try = methods(inputs.recipe.pack, case).tried
        try:
            tried = _search(packing, plan, byte_budget).best(encoder, plan).tried
        except CapError as error:
            print(f"{run.name}, {rate} bits: {error}", flush=True)
            continue
        for each in tried:
            score = score_as_written(inputs, each.solution.built, run / "methods.bin", packing.observer)
            print(f"{run.name}, {rate} bits, {each.method.name}: {each.gap:+.4f}, {score.loss:.4f}", flush=True)
            yield {
                "checkpoint": run.name,
                "parameters": parameters,
                "tokens_a_parameter": round(inputs.tokens_trained / parameters, 1),
                "tokens": case.tokens,
                "text_share": plan.text_share,
                "bits": rate,
                "method": each.method.name,
                "tried": _is_tried(each, would_try),
                "gap": each.gap,
                "float_loss": float_loss,
                "loss": score.loss,
                "bytes": each.solution.size,
                "byte_budget": byte_budget,
                "ranks": sum(each.solution.built.ranks),
                "seconds": round(each.seconds, 1),
            }


def _search(packing: Packing, plan: Methods, byte_budget: int) -> Search:
    fine_tune = fine_tuner(packing.inputs, plan, packing.windows, packing.time_budget, packing.observer)
    return Search(byte_budget, packing.inputs.recipe.pack.target_gap, packing.gap, fine_tune)


def _is_tried(candidate: Candidate, would_try: tuple[Method, ...]) -> bool:
    """Whether a pack would have made this candidate; what is fine-tuned is rounded first."""
    return bool({candidate.method, replace(candidate.method, fine_tune=True)} & set(would_try))


def main() -> None:
    """Measure what has no line yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rates", default=RATES)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    add_out_option(parser, RESULTS)
    arguments = parser.parse_args()
    done = {(row["checkpoint"], row["bits"]) for row in read(arguments.out)}
    rates = [float(rate) for rate in arguments.rates.split(",")]
    for run in arguments.runs:
        for row in compare(run, rates, arguments.settings, done):
            append(arguments.out, row | circumstances())


if __name__ == "__main__":
    main()
