"""The best pack under a byte budget: each candidate fills the budget and is measured; the lowest loss is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from golf.compress.rate_search import ENDLESS, Solution, finest_scale, is_full, solve
from golf.errors import CapError
from golf.packing.encoder import EncodedModel, ModelEncoder
from golf.packing.methods import Method, Methods

# Halvings of the step beyond the one whose predicted gap is small enough, until the measured gap is so too.
_MOST_REFINEMENTS = 8
# A fine-tuned pack that leaves no more than this share of its budget stays as it was tuned.
_LEFT_OVER = 5e-4


@dataclass(frozen=True)
class Candidate:
    """One method's pack. `gap` is in nats per token, on training text held out from fine-tuning."""

    method: Method
    encoder: ModelEncoder
    solution: Solution[EncodedModel]
    gap: float
    seconds: float

    def worth(self, target_gap: float) -> tuple[float, int]:
        """What the least is best of: the gap, which counts as none within the target of a roomy budget; then bytes."""
        within = not self.solution.binding and 0 <= self.gap <= target_gap
        return (0.0 if within else self.gap), self.solution.size


@dataclass(frozen=True)
class Choice:
    """The candidate that was kept, all that were tried, and why other methods were not."""

    kept: Candidate
    tried: list[Candidate]
    skipped: dict[str, str]

    @property
    def rounded_gap(self) -> float | None:
        """The least gap without fine-tuning, where something was fine-tuned; None else."""
        if not any(each.method.fine_tune for each in self.tried):
            return None
        return min(each.gap for each in self.tried if not each.method.fine_tune)


@dataclass(frozen=True)
class Search:
    """How a search measures and fine-tunes.

    `gap` is the loss of what an encoder made minus the float model's; `fine_tune` gives the encoder whose targets were
    tuned at a candidate's step to fill a byte budget. `refine` allows finer steps where a roomy budget's measured gap
    is larger than predicted.
    """

    byte_budget: int
    target_gap: float
    gap: Callable[[ModelEncoder, EncodedModel], float]
    fine_tune: Callable[[Candidate, int], ModelEncoder]
    refine: bool = True

    def best(self, encoder: ModelEncoder, plan: Methods) -> Choice:
        """Try every method of `plan` on the matrices of `encoder`; raises CapError where none fits in the budget."""
        tried: list[Candidate] = []
        for method in plan.tried:
            rounded = self.rounded(encoder.with_quantizer(method.quantizer, method.low_rank), method)
            tried.append(rounded)
            if method.fine_tune:
                tried.append(self.fine_tuned(rounded))
        return Choice(min(tried, key=lambda each: each.worth(self.target_gap)), tried, plan.skipped)

    def rounded(self, encoder: ModelEncoder, method: Method) -> Candidate:
        """The pack by rounding alone: it fills the budget, or has the wanted quality within it."""
        began, least = time.monotonic(), encoder.least_scale()
        finest = max(finest_scale(encoder.weights, self.target_gap), least)
        found = solve_to_budget(encoder, self.byte_budget, finest=finest)
        gap = self.gap(encoder, found.built)
        for _ in range(_MOST_REFINEMENTS if self.refine else 0):
            # The prediction knows curvature only. A model that is still far from its optimum also has slopes.
            if found.binding or finest == least or gap <= self.target_gap:
                break
            finest = max(finest / 2, least)
            found = solve_to_budget(encoder, self.byte_budget, finest=finest)
            gap = self.gap(encoder, found.built)
        plain = replace(method, fine_tune=False)
        return Candidate(plain, encoder, found, gap, time.monotonic() - began)

    def fine_tuned(self, rounded: Candidate) -> Candidate:
        """`rounded` with its targets fine-tuned; where the wanted quality decided, it has decided the size."""
        began, binding = time.monotonic(), rounded.solution.binding
        byte_budget = self.byte_budget if binding else rounded.solution.size
        encoder = self.fine_tune(rounded, byte_budget)
        found = solve_near(encoder, byte_budget, rounded.solution.scale)
        gap = self.gap(encoder, found.built)
        method = replace(rounded.method, fine_tune=True)
        return Candidate(method, encoder, replace(found, binding=binding), gap, time.monotonic() - began)


def solve_to_budget(encoder: ModelEncoder, byte_budget: int, *, finest: float) -> Solution[EncodedModel]:
    """The finest pack of `encoder` from the step `finest` on that fits; CapError with the smallest reachable size.

    Low-rank factors whose ranks change with the step make sizes jump over the budget: then the ranks are held.
    """
    found = _solve(encoder, byte_budget, finest=finest)
    if found.binding and not is_full(found.size, byte_budget) and any(found.built.ranks):
        held = _solve(encoder.with_ranks(found.built.ranks), byte_budget, finest=finest, start=found.scale)
        found = max(found, held, key=lambda each: each.size)
    return found


def solve_near(encoder: ModelEncoder, byte_budget: int, scale: float) -> Solution[EncodedModel]:
    """Solve again from a known step on; CapError where that budget is out of reach.

    A fine-tuned pack that fits and leaves little over stays as it is: at other steps its targets round otherwise.
    """
    if not encoder.fine_tuned:
        return _solve(encoder, byte_budget, finest=scale / 4, start=scale)
    size, encoded = encoder.build(scale)
    as_tuned, left = Solution(scale, size, encoded, 1, binding=True), byte_budget - size
    if 0 <= left <= _LEFT_OVER * byte_budget or is_full(size, byte_budget):
        return as_tuned
    found = _solve(encoder, byte_budget, finest=scale / 4, start=scale)
    # sizes of small files jump, and a search may end below where it began
    return as_tuned if found.size <= size <= byte_budget else found


def smallest_size(encoder: ModelEncoder) -> int:
    """Bytes of the file when every symbol is zero."""
    return encoder.build(ENDLESS)[0]


def _solve(
    encoder: ModelEncoder, byte_budget: int, *, finest: float, start: float | None = None
) -> Solution[EncodedModel]:
    model = None if encoder.fine_tuned else encoder.estimate
    if start is None and model is not None:
        start = _likely(encoder, byte_budget, finest)
    found = solve(
        encoder.build, byte_budget=byte_budget, finest=finest, weights=encoder.weights, start=start, estimate=model
    )
    if isinstance(found, Solution):
        return found
    raise CapError(_out_of_reach(encoder, byte_budget, found))


def _likely(encoder: ModelEncoder, byte_budget: int, finest: float) -> float:
    """A step at which the estimated size fits: `finest`, doubled as often as it takes."""
    scale = finest
    while encoder.estimate(scale) > byte_budget and scale < ENDLESS:
        scale *= 2
    return scale


def _out_of_reach(encoder: ModelEncoder, byte_budget: int, smallest: int) -> str:
    """The smallest reachable size, and what dominates it."""
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
