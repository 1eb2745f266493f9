"""The finest pack under a cap: solved for its step, tuned at that step, and solved again."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from golf.compress.rate_search import ENDLESS, Solution, finest_scale, is_full, solve
from golf.errors import CapError
from golf.packing.encoder import Draft, Packed
from golf.packing.finetune import Tuning, tune
from golf.packing.inputs import LOOK_BATCH, LOOK_TOKENS, LOOKS, Source
from golf.packing.timing import text_share, tuning_batches, tuning_tokens
from golf.runtime.parallel import in_order

# Halvings of the step beyond the one whose predicted gap is small enough, until the measured gap is so too.
_MOST_REFINEMENTS = 8
# Tokens times gap (nats per token) over weights below which tuning gains no more than chance (.0004) and above which it
# won (.0012, a third of the gap; .006, over half): 3 M parameters, 524,288 tokens, 3.5, 2.5 and 2 bits (docs/log.md).
_LEAST_SIGNAL = 0.0006
# What the text's own loss counts as beside such a gap: half of it won .04 to .09 on .6 M and 3 M parameters, whatever
# the gap. More weights than this admits need minutes on a CPU, which are worth more in training.
_LESSON = 0.02
# From so many bits a weight on a trellis is never worse than plain integers by more than chance, .001 nats per token
# (3 M and 17 M weights at 2 to 3.5 bits, docs/log.md).
_TRELLIS_BITS = 2.0
# Around the step that was tuned for, the tuned pack is solved for within this ratio, then further.
_REFIT = 0.95
# A tuned pack that leaves no more than this share of its room stays as it was tuned; tuning aims at half of it.
_SPARE = 5e-4
# Plain rounding loses ½ log2(2 pi e / 12) = .2546 bits a weight by its shape, and a bit divides the gap by four: a gap
# below this share of plain rounding's is out of a trellis's reach (which saves .16 bits at most, docs/log.md).
_SHAPING = 12 / (2 * math.pi * math.e)


@dataclass(frozen=True)
class Fit:
    """A draft and the solution of it that was chosen. Gaps are in nats per token on training text.

    `rounded_gap` is that of rounding alone at the same cap; None where nothing was tuned.
    """

    draft: Draft
    solution: Solution[Packed]
    gap: float
    rounded_gap: float | None = None

    @property
    def tuned(self) -> bool:
        """Whether it was tuned and is better for it."""
        return self.rounded_gap is not None and self.gap < self.rounded_gap


def fit(draft: Draft, source: Source, *, room: int) -> Fit:
    """The best pack of `draft` within `room` bytes that still pays; CapError with the smallest reachable size.

    Plain integers come first, since they can be tuned, and a trellis is asked where it may still be better; a trellis
    comes first, and alone, where it is no worse and too little text would be left to tune with.
    """
    section, trellis = source.recipe.pack, None
    hurried = section.quantizer == "auto" and not source.allowance.fits("looks", "looks")
    if section.quantizer == "trellis" or hurried:  # with one look alone, the better of two ways to round
        return _filled(_compared(draft, source, room), source, room)
    if section.quantizer == "auto" and _seems_beyond_tuning(draft, source, room):
        trellis = _compared(draft, source, room)
        if trellis.gap < _SHAPING * _least_gap(source, section.tune_tokens, draft.weights):
            return _filled(trellis, source, room)
    rounded = _compared(on_plain_integers(draft), source, room)
    pays = _tuning_pays(source, section.tune_tokens, rounded)
    tuned, filled = None, pays or section.quantizer == "uniform"
    if filled:
        rounded = _filled(rounded, source, room)
    if pays and source.allowance.fits("looks"):
        tuned = _tuned_fit(rounded, source, room)
    reach = min(rounded.gap, _SHAPING * rounded.gap)
    if section.quantizer == "auto" and (tuned is None or tuned.gap > reach):
        better = _with_trellis(draft, rounded, trellis, source, room)
        rounded = rounded if filled and better is rounded else _filled(better, source, room)
    if tuned is None:
        return rounded
    best = min(rounded, tuned, key=lambda each: each.gap)
    return replace(best, rounded_gap=rounded.gap)


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


def _compared(draft: Draft, source: Source, room: int) -> Fit:
    """The better of two rough packs by rounding alone: with the factors that should pay, and with none."""
    found = _finest(draft, source, room)
    chosen = source.recipe.pack.low_rank == "auto" and any(found.solution.packed.ranks)
    if not chosen or not source.allowance.fits("looks", "looks"):
        return found
    plain = _finest(_with_ranks(draft, [0] * len(draft.prepared)), source, room)
    return min(plain, found, key=lambda each: _expected_gap(each, room))


def _expected_gap(found: Fit, room: int) -> float:
    """The gap of `found` if it filled its room: a bit more for every weight divides it by four."""
    if not found.solution.binding or found.gap <= 0:
        return found.gap
    return float(found.gap / 4 ** (8 * (room - found.solution.size) / found.draft.weights))


def _finest(draft: Draft, source: Source, room: int) -> Fit:
    """The finest pack by rounding alone, but for half a percent of the room."""
    target = source.recipe.pack.target_gap
    least = _least_scale(draft)
    finest = max(finest_scale(draft.weights, target), least)
    found = _solve(draft, room, finest, rough=True)
    gap = training_gap(draft, found.packed, source)
    for _ in range(_MOST_REFINEMENTS):
        # The prediction knows curvature only. A model that is still far from its optimum also has slopes.
        if found.binding or finest == least or gap <= target or not source.allowance.fits("looks"):
            break
        finest = max(finest / 2, least)
        found = _solve(draft, room, finest, rough=True)
        gap = training_gap(draft, found.packed, source)
    return Fit(draft, found, gap)


def _least_scale(draft: Draft) -> float:
    """The step below which a symbol of some matrix could overflow."""
    return max(p.least_scale() for p in draft.prepared)


def _filled(rough: Fit, source: Source, room: int) -> Fit:
    """`rough` with its room filled: with the ranks that were found, where a rank's change makes sizes jump over it."""
    draft, best = rough.draft, rough.solution
    if not best.binding:
        return rough
    for held, finer in ((False, 2), (True, 6)):
        if is_full(best.size, room):
            break
        tried = _with_ranks(draft, best.packed.ranks) if held else draft
        again = _solve(tried, room, best.scale * _REFIT**finer)  # sizes jump: each start finds a step of its own
        if again.size > best.size:
            draft, best = tried, replace(again, probes=best.probes + again.probes, binding=True)
    if best is rough.solution or not source.allowance.fits("looks"):
        return replace(rough, draft=draft, solution=best)
    return Fit(draft, best, training_gap(draft, best.packed, source))


def _with_ranks(draft: Draft, ranks: Iterable[int]) -> Draft:
    return replace(draft, prepared=[replace(p, rank=rank) for p, rank in zip(draft.prepared, ranks, strict=True)])


def _with_trellis(draft: Draft, rounded: Fit, trellis: Fit | None, source: Source, room: int) -> Fit:
    """The better of `rounded` and a rough pack along a trellis, which may be known.

    `rounded` where the clock allows no more looks.
    """
    if trellis is None and source.allowance.fits("looks"):
        trellis = _compared(draft, source, room)
    if trellis is None:
        return rounded
    # no cap holds back a gap that is small enough, for which a trellis needs fewer bytes
    enough = max(_expected_gap(rounded, room), source.recipe.pack.target_gap)
    wins = _expected_gap(trellis, room) <= (rounded.gap if trellis.solution.binding else enough)
    return trellis if wins else rounded


def _seems_beyond_tuning(draft: Draft, source: Source, room: int) -> bool:
    """Whether a trellis is as good as plain integers at so many bits, and these are predicted not to be tuned.

    They are not where a step fits at whose predicted gap tuning only begins to pay.
    """
    section = source.recipe.pack
    least = _least_gap(source, section.tune_tokens, draft.weights)
    few = 8 * room < _TRELLIS_BITS * draft.weights
    if few or section.low_rank == "only" or not 0 < least < math.inf:
        return False
    scale = max(finest_scale(draft.weights, least), _least_scale(draft))
    return on_plain_integers(draft).build(scale)[0] <= room


def _least_gap(source: Source, tokens: int, weights: int) -> float:
    """The gap (nats per token) from which on tuning pays; endless without tokens, 0 or less where it always does.

    So few tokens must tell so many weights what a gap is made of, or what the text holds.
    """
    if tokens <= 0:
        return math.inf
    return _LEAST_SIGNAL * weights / tokens - _LESSON * text_share(source, tokens)


def _tuning_pays(source: Source, tokens: int, rounded: Fit) -> bool:
    """Whether `tokens` tokens of tuning gain more than chance."""
    gap = rounded.gap if rounded.solution.binding else 0.0  # without a cap that binds, it is as small as wanted
    return gap >= _least_gap(source, tokens, rounded.draft.weights)


def _tuned_fit(rounded: Fit, source: Source, room: int) -> Fit | None:
    """`rounded`, tuned; None where the clock leaves too little time for it to pay."""
    scale = rounded.solution.scale
    tokens = tuning_tokens(source, rounded.draft.prepared, scale)
    if not tokens or not _tuning_pays(source, tokens, rounded):
        return None
    # where the wanted quality decided, it has decided the size
    binding = rounded.solution.binding
    room = room if binding else rounded.solution.size
    tuned = _tuned(rounded.draft, source, scale, tokens, room)
    found = refit(tuned, room=room, scale=scale)
    solution = replace(found, probes=rounded.solution.probes + found.probes, binding=binding)
    return Fit(tuned, solution, training_gap(tuned, found.packed, source))


def _tuned(draft: Draft, source: Source, scale: float, tokens: int, room: int) -> Draft:
    """`draft` with targets and small tensors tuned on `tokens` tokens so that it about fills the room at `scale`."""
    section, text = source.recipe.pack, text_share(source, tokens)
    if text < section.tune_text:
        whole = len(source.data.train)
        source.observer.note(
            f"the {whole:,} tokens of training text are read {(source.seen + tokens) / whole:.1f} times, tuning "
            "counted in: it only mends what rounding broke, as with pack.tune_text = 0"
        )

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
        text_share=text,
        spare=spare,
        step=step,
    )
    return as_tuned(tuning)


def _solve(draft: Draft, room: int, finest: float, *, rough: bool = False) -> Solution[Packed]:
    found = solve(draft.build, room=room, finest=finest, weights=draft.weights, rough=rough)
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
