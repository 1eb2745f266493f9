"""Fine-tune one candidate on training text so that it fills its byte budget at its own global step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from torch import Tensor

from golf.packing.encoder import ModelEncoder
from golf.packing.finetune import FineTuned, finetune
from golf.packing.inputs import PackInputs
from golf.packing.methods import Methods
from golf.packing.search import LEFT_OVER, Candidate
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.runtime.observer import Observer

# Fine-tuning aims below the budget by this share of it: half of what a fine-tuned pack may leave unused.
AIM_BELOW = LEFT_OVER / 2


def fine_tuner(
    inputs: PackInputs, plan: Methods, windows: TextWindows, time_budget: TimeBudget, observer: Observer
) -> Callable[[Candidate, int], ModelEncoder]:
    """A function (candidate, byte budget) → its encoder with fine-tuned targets and small tensors."""
    section = inputs.recipe.pack
    if plan.text_share < section.tune_text and any(method.fine_tune for method in plan.tried):
        whole = len(inputs.data.train)
        observer.note(
            f"the {whole:,} tokens of training text are read {(inputs.tokens_trained + plan.tokens) / whole:.1f} "
            "times, fine-tuning included: fine-tuning only follows the float model, as with pack.tune_text = 0"
        )

    def fine_tuned(candidate: Candidate, byte_budget: int) -> ModelEncoder:
        encoder, scale = candidate.encoder, candidate.solution.scale

        def as_tuned(tuning: FineTuned) -> ModelEncoder:
            return replace(encoder, matrices=tuning.matrices, small=tuning.small)

        def bytes_left(tuning: FineTuned) -> int:
            with time_budget.paused():
                return round((1 - AIM_BELOW) * byte_budget) - as_tuned(tuning).build(scale)[0]

        def progress(share: float) -> None:
            observer.check()
            observer.stage("tune", share)

        batch_tokens = section.tune_batch_tokens

        def batches() -> Iterator[Tensor]:
            """Batches on the clock: what fine-tuning does before and after them reads no text."""
            with time_budget.using("tuning"):
                text = windows.fine_tuning(plan.tokens, batch_tokens=batch_tokens)
                yield from time_budget.in_time(text, "tuning")

        tuning = finetune(
            inputs.model,
            encoder.matrices,
            batches(),
            count=windows.count(plan.tokens, batch_tokens=batch_tokens),
            scale=scale,
            low_rank=encoder.low_rank,
            text_share=plan.text_share,
            bytes_left=bytes_left,
            off_the_clock=time_budget.paused,
            progress=progress,
        )
        return as_tuned(tuning)

    return fine_tuned
