"""The finest pack under a cap: solved for its step, tuned at that step, and solved again."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from golf.compress.allocate import ENDLESS, Solution, finest_scale, is_full, solve
from golf.compress.tune import Tuning, tune
from golf.draft import Draft, Packed
from golf.errors import CapError
from golf.pace import tuning_batches, tuning_tokens
from golf.parallel import in_order
from golf.source import LOOK_BATCH, LOOK_TOKENS, LOOKS, Source

# Halvings of the step beyond the one whose predicted gap is small enough, until the measured gap is so too.
_MOST_REFINEMENTS = 8
# Tokens times gap (nats per token) over weights below which tuning gains no more than chance (.0004) and above which it
# won (.0012, a third of the gap; .006, over half): 3 M parameters, 524,288 tokens, 3.5, 2.5 and 2 bits (docs/log.md).
_LEAST_SIGNAL = 0.0006
# Around the step that was tuned for, the tuned pack is solved for within this ratio, then further.
_REFIT = 0.95
# A tuned pack that leaves no more than this share of its room stays as it was tuned; tuning aims at half of it.
_SPARE = 5e-4


@dataclass(frozen=True)
class Fit:
    """A draft and the solution of it that was chosen. Gaps are in nats per token on training text.

    `rounded_gap` is that of rounding alone at the same cap; None where nothing was tuned.
    """

    draft: Draft
    solution: Solution[Packed]
    gap: float
    rounded_gap: float | None

    @property
    def tuned(self) -> bool:
        """Whether it was tuned and is better for it."""
        return self.rounded_gap is not None and self.gap < self.rounded_gap


def fit(draft: Draft, source: Source, *, room: int) -> Fit:
    """The best pack of `draft` within `room` bytes that still pays; CapError with the smallest reachable size."""
    found = _with_or_without_factors(draft, source, room)
    section = source.recipe.pack
    # without a cap that binds, the gap is small already
    if not found.solution.binding or not _tuning_pays(section.tune_tokens, found.gap, draft.weights):
        return found
    if section.quantizer == "trellis" or not source.allowance.fits("looks"):
        return found
    plain = found
    if section.quantizer == "auto":
        plain = _with_or_without_factors(on_plain_integers(draft), source, room)
    rounded = min(found, plain, key=lambda each: each.gap)
    tokens = tuning_tokens(source, plain.draft.prepared, plain.solution.scale)
    if not tokens or not _tuning_pays(tokens, rounded.gap, draft.weights):
        return rounded
    tuned = _tuned(plain.draft, source, plain.solution.scale, tokens, room)
    refitted = refit(tuned, room=room, scale=plain.solution.scale)
    gap = training_gap(tuned, refitted.packed, source)
    if gap < rounded.gap:
        tried = replace(refitted, probes=plain.solution.probes + refitted.probes)
        return Fit(tuned, tried, gap, rounded.gap)
    return replace(rounded, rounded_gap=rounded.gap)


def refit(draft: Draft, *, room: int, scale: float) -> Solution[Packed]:
    """Solve again near a known step; CapError where that room is out of reach."""
    if draft.prepared[0].tuned is None:
        return _solve(draft, room, scale * _REFIT**4)
    size, packed = draft.build(scale)
    if 0 <= room - size <= _SPARE * room:
        return Solution(scale, size, packed, 1, binding=True)
    finest, found = scale, None
    while found is None or not found.binding:
        finest *= _REFIT
        found = _solve(draft, room, finest)
        if finest < scale / 4:  # nothing left that more bytes would change
            break
    return found


def training_gap(draft: Draft, packed: Packed, source: Source) -> float:
    """Loss of the packed model minus the float model's, nats per token, on training text."""
    rebuilt = draft.decoded(packed)

    @torch.inference_mode()
    def difference(window: Tensor) -> float:
        return float(rebuilt.loss(window) - source.model.loss(window))

    windows = source.windows(LOOK_TOKENS, batch_tokens=LOOK_BATCH, purpose=LOOKS)
    with source.allowance.using("looks"):
        return statistics.fmean(in_order(difference, windows, device=source.device))


def smallest_size(draft: Draft) -> int:
    """Bytes of the file when every symbol is zero."""
    return draft.build(ENDLESS)[0]


def on_plain_integers(draft: Draft) -> Draft:
    """`draft` without a trellis."""
    return replace(draft, prepared=[replace(p, states=0) for p in draft.prepared])


def _with_or_without_factors(draft: Draft, source: Source, room: int) -> Fit:
    """The better of two packs by rounding alone: with the factors that should pay, and with none."""
    solution, gap = _finest(draft, source, room)
    found = Fit(draft, solution, gap, None)
    section = source.recipe.pack
    chosen = section.low_rank == "auto" and any(matrix.factors.rank for matrix in solution.packed.coded)
    if not chosen or not source.allowance.fits("looks", "looks"):
        return found
    plain = replace(draft, prepared=[replace(p, rank=0) for p in draft.prepared])
    plain_solution, plain_gap = _finest(plain, source, room)
    return Fit(plain, plain_solution, plain_gap, None) if plain_gap <= gap else found


def _finest(draft: Draft, source: Source, room: int) -> tuple[Solution[Packed], float]:
    """The finest pack by rounding alone, and its gap on training text."""
    target = source.recipe.pack.target_gap
    least = max(p.least_scale() for p in draft.prepared)
    finest = max(finest_scale(draft.weights, target), least)
    found = _filled(draft, _solve(draft, room, finest), room)
    gap = training_gap(draft, found.packed, source)
    for _ in range(_MOST_REFINEMENTS):
        # The prediction knows curvature only. A model that is still far from its optimum also has slopes.
        if found.binding or finest == least or gap <= target or not source.allowance.fits("looks"):
            break
        finest = max(finest / 2, least)
        found = _solve(draft, room, finest)
        gap = training_gap(draft, found.packed, source)
    return found, gap


def _filled(draft: Draft, found: Solution[Packed], room: int) -> Solution[Packed]:
    """Solve again with the ranks that were found, where a rank's change made the size jump over the room."""
    ranks = [matrix.factors.rank for matrix in found.packed.coded]
    if not found.binding or not any(ranks) or is_full(found.size, room):
        return found
    prepared = [replace(p, rank=rank) for p, rank in zip(draft.prepared, ranks, strict=True)]
    again = _solve(replace(draft, prepared=prepared), room, found.scale * _REFIT**6)
    return again if again.binding and again.size > found.size else found


def _tuning_pays(tokens: int, gap: float, weights: int) -> bool:
    """Whether so few tokens can tell so many weights what a gap (nats per token) is made of."""
    return tokens * gap >= _LEAST_SIGNAL * weights


def _tuned(draft: Draft, source: Source, scale: float, tokens: int, room: int) -> Draft:
    """`draft` with targets and small tensors tuned on `tokens` tokens so that it about fills the room at `scale`."""
    section = source.recipe.pack

    def as_tuned(tuning: Tuning) -> Draft:
        return replace(draft, prepared=tuning.prepared, small=tuning.small)

    def spare(tuning: Tuning) -> int:
        with source.allowance.paused():
            return round((1 - _SPARE / 2) * room) - as_tuned(tuning).build(scale)[0]

    def step(share: float) -> None:
        source.check()
        source.observer.stage("tune", share)

    tuning = tune(
        source.model,
        draft.prepared,
        tuning_batches(source, tokens),
        count=source.count(tokens, batch_tokens=section.tune_batch_tokens),
        scale=scale,
        low_rank=section.low_rank,
        spare=spare,
        step=step,
    )
    return as_tuned(tuning)


def _solve(draft: Draft, room: int, finest: float) -> Solution[Packed]:
    found = solve(draft.build, room=room, finest=finest, weights=draft.weights)
    if isinstance(found, Solution):
        return found
    raise CapError(_out_of_reach(draft, room, found))


def _out_of_reach(draft: Draft, room: int, smallest: int) -> str:
    """The smallest reachable size, and what dominates it."""
    cap = draft.budget.cap
    needed = smallest + cap - room  # the code, and room for the claim's digits
    _, packed = draft.build(ENDLESS)
    sizes = {"code": draft.budget.code_bytes}
    for payload in packed.payloads:
        part = payload.name.rpartition("/")[2]
        sizes[part] = sizes.get(part, 0) + len(payload.content)
    sizes["manifest"] = smallest - sum(sizes.values()) + sizes["code"]
    largest = max(sizes, key=sizes.__getitem__)
    return (
        f"no artifact of this checkpoint fits in {cap:,} bytes: the smallest reachable is {needed:,}, of which "
        f"{sizes[largest]:,} are {largest}; raise --cap or train a smaller model"
    )
