"""The best pack under a byte budget: each candidate fills the budget and is measured; the lowest loss is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from golf.compress.rate_search import ENDLESS, Solution, finest_scale, is_full, solve
from golf.errors import CapError
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.methods import Method, Methods

# A fine-tuned pack that leaves at most this share of its budget unused keeps the step that it was fine-tuned at.
LEFT_OVER = 5e-4


@dataclass(frozen=True)
class Candidate:
    """One method's pack. `gap` is in nats per token, on held-out training text."""

    method: Method
    encoder: ModelEncoder
    solution: Solution[EncodedModel]
    gap: float
    seconds: float

    def worth(self, target_gap: float) -> tuple[float, int]:
        """Sort key, least first: the gap, then bytes.

        A gap counts as 0 where `target_gap`, not the byte budget, decided the step and the gap is within it.
        """
        within = not self.solution.binding and 0 <= self.gap <= target_gap
        return (0.0 if within else self.gap), self.solution.size


@dataclass(frozen=True)
class Choice:
    """The candidate that was kept, all that were tried, and why other methods were not."""

    kept: Candidate
    tried: list[Candidate]
    skipped: dict[Method, str]

    @property
    def rounded_gap(self) -> float | None:
        """The least gap without fine-tuning; None where nothing was fine-tuned."""
        if not any(each.method.fine_tune for each in self.tried):
            return None
        return min(each.gap for each in self.tried if not each.method.fine_tune)


@dataclass(frozen=True)
class Search:
    """Fill a byte budget with each method, and measure.

    `gap` measures the loss of an encoded model minus the float model's; `fine_tune` returns the encoder whose targets
    were fine-tuned at a candidate's step to fill a byte budget. `refine` allows finer steps where the byte budget does
    not bind and the measured gap is larger than predicted.
    """

    byte_budget: int
    target_gap: float
    gap: Callable[[ModelEncoder, EncodedModel], float]
    fine_tune: Callable[[Candidate, int], ModelEncoder]
    refine: Callable[[], bool] = lambda: True

    def best(self, encoder: ModelEncoder, plan: Methods) -> Choice:
        """Try every method of `plan` on the matrices of `encoder`; raises CapError where none fits in the budget."""
        tried: list[Candidate] = []
        skipped = dict(plan.skipped)
        for method in plan.tried:
            rounded = self.rounded(encoder.with_quantizer(method.quantizer, method.low_rank), method)
            tried.append(rounded)
            if method.fine_tune:
                try:
                    tried.append(self.fine_tuned(rounded))
                except CapError:  # gains that were fine-tuned take some bytes more
                    skipped[method] = "fine-tuned, it does not fit in the byte budget"
        return Choice(min(tried, key=lambda each: each.worth(self.target_gap)), tried, skipped)

    def rounded(self, encoder: ModelEncoder, method: Method) -> Candidate:
        """The pack by rounding alone: it fills the budget, or reaches `target_gap` in fewer bytes."""
        began, least = time.monotonic(), encoder.least_scale()
        finest = max(finest_scale(encoder.weights, self.target_gap), least)
        used, found = solve_to_budget(encoder, self.byte_budget, finest=finest)
        gap = self.gap(used, found.built)
        # The prediction has second-order terms only. Far from its optimum a model also has first-order ones, so that
        # the step at which second-order terms would reach the target is still too coarse.
        while gap > self.target_gap and not found.binding and finest > least and self.refine():
            finest = max(finest * min(0.5, math.sqrt(self.target_gap / gap)), least)
            used, found = solve_to_budget(encoder, self.byte_budget, finest=finest)
            gap = self.gap(used, found.built)
        plain = replace(method, fine_tune=False)
        return Candidate(plain, used, found, gap, time.monotonic() - began)

    def fine_tuned(self, rounded: Candidate) -> Candidate:
        """`rounded` with its targets fine-tuned, at the byte budget, or at its own size where `target_gap` decided."""
        began, binding = time.monotonic(), rounded.solution.binding
        byte_budget = self.byte_budget if binding else rounded.solution.size
        encoder = self.fine_tune(rounded, byte_budget)
        found = solve_near(encoder, byte_budget, rounded.solution.scale)
        gap = self.gap(encoder, found.built)
        method = replace(rounded.method, fine_tune=True)
        return Candidate(method, encoder, replace(found, binding=binding), gap, time.monotonic() - began)


def solve_to_budget(
    encoder: ModelEncoder, byte_budget: int, *, finest: float
) -> tuple[ModelEncoder, Solution[EncodedModel]]:
    """The finest pack of `encoder` that fits, at a step ≥ `finest`; raises CapError with the smallest reachable size.

    Where ranks of low-rank factors change with the step, sizes jump over the budget: then it is solved again with fixed
    ranks, and the encoder that is returned fixes them.
    """
    found = _solve(encoder, byte_budget, finest=finest)
    if found.binding and not is_full(found.size, byte_budget) and any(found.built.ranks):
        fixed = encoder.with_ranks(found.built.ranks)
        held = _solve(fixed, byte_budget, finest=finest, start=found.scale)
        if held.size > found.size:
            return fixed, held
    return encoder, found


def solve_near(encoder: ModelEncoder, byte_budget: int, scale: float) -> Solution[EncodedModel]:
    """Solve again, starting at a known step; raises CapError where the budget is out of reach.

    A fine-tuned pack that fits and leaves few bytes unused stays as it is: another step would change its symbols.
    """
    if not encoder.fine_tuned:
        return _solve(encoder, byte_budget, finest=scale / 4, start=scale)
    size, encoded = encoder.build(scale)
    as_tuned, left = Solution(scale, size, encoded, 1, binding=True), byte_budget - size
    if 0 <= left <= LEFT_OVER * byte_budget or is_full(size, byte_budget):
        return as_tuned
    found = _solve(encoder, byte_budget, finest=scale / 4, start=scale)
    # sizes of small files jump, and a search may end with fewer bytes than it began with
    return as_tuned if found.size <= size <= byte_budget else found


def smallest_size(encoder: ModelEncoder) -> int:
    """Bytes of the file when every symbol is zero."""
    return encoder.build(ENDLESS)[0]


def _solve(
    encoder: ModelEncoder, byte_budget: int, *, finest: float, start: float | None = None
) -> Solution[EncodedModel]:
    estimate = None if encoder.fine_tuned else encoder.estimate
    found = solve(
        encoder.build, byte_budget=byte_budget, finest=finest, weights=encoder.weights, start=start, estimate=estimate
    )
    if isinstance(found, Solution):
        return found
    raise CapError(_out_of_reach(encoder, byte_budget, found))


def _out_of_reach(encoder: ModelEncoder, byte_budget: int, smallest: int) -> str:
    """The message of a CapError: the smallest reachable size, and its largest part."""
    cap = encoder.budget.cap
    needed = smallest + cap - byte_budget  # the code, and bytes for the claim's digits
    _, encoded = encoder.build(ENDLESS)
    sizes = {"code": encoder.budget.code_bytes}
    for payload in encoded.payloads:
        part = payload.name.rpartition("/")[2]
        sizes[part] = sizes.get(part, 0) + len(payload.content)
    sizes["manifest"] = smallest - sum(sizes.values()) + sizes["code"]
    largest = max(sizes, key=sizes.__getitem__)
    return (
        f"no artifact of this checkpoint fits in {cap:,} bytes: the smallest reachable is {needed:,}, of which "
        f"{sizes[largest]:,} are {largest}; raise --cap or train a smaller model"
    )
