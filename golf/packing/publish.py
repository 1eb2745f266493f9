"""Write the chosen pack as an artifact: measure it as re-read from disk, and store that score as its claim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from golf.artifact import Claim, assemble
from golf.compress.rate_search import Solution
from golf.errors import CapError
from golf.evaluation.loss import Score
from golf.evaluation.score_text import text_sha256
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.inputs import PackInputs
from golf.packing.measure import score_as_written
from golf.packing.search import solve_near
from golf.runtime import durable
from golf.runtime.observer import Observer

# Bytes left free for the claim, tried in turn: it is measured after the size is solved, and its digits may compress
# worse than the placeholder's by some bytes.
CLAIM_SLACKS = (8, 24, 64)


def publish(
    inputs: PackInputs,
    encoder: ModelEncoder,
    solution: Solution[EncodedModel],
    float_score: Score,
    out: Path,
    observer: Observer,
) -> tuple[Solution[EncodedModel], Score]:
    """Measure the pack as re-read from disk, and write it to `out` with that score as its claim.

    Where the file is over the cap, solve for fewer bytes and repeat. Returns what was written, and its score. Raises
    CapError where the claim never fits; `out` then stays as it was.
    """
    budget = encoder.budget
    for slack in (*CLAIM_SLACKS[1:], None):
        found = score_as_written(inputs, solution.built, out, observer)
        claim = claim_of(inputs, found, float_score)
        content = assemble(replace(solution.built.manifest, claim=claim), solution.built.payloads)
        if len(content) + budget.code_bytes <= budget.cap:
            durable.write_bytes(out, content)
            return solution, found
        if slack is not None:
            solution = solve_near(encoder, budget.cap - budget.code_bytes - slack, solution.scale)
    raise CapError(f"the claim takes more than {CLAIM_SLACKS[-1]} bytes over its estimate; lower --cap by some bytes")


def claim_of(inputs: PackInputs, found: Score, float_score: Score) -> Claim:
    """The claim of an artifact: its score on the claim's text, to six decimals (.002 of the tolerance)."""
    return Claim(
        val_loss=round(found.loss, 6),
        bpb=round(found.bpb, 6),
        tokens=found.tokens,
        bytes=found.bytes,
        text_sha256=text_sha256(inputs.validation, inputs.data.tokenizer, found.tokens),
        device=inputs.device.type,
        dtype="float32",
        tolerance=inputs.recipe.verify.loss_tolerance,
        float_val_loss=round(float_score.loss, 6),
        float_bpb=round(float_score.bpb, 6),
        restoring_bits=found.restoring_bits,
        counted_bytes=(found.counted_bytes or 0) if found.restoring_bits else 0,
    )
