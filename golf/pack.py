"""The second flow: checkpoint → sensitivity → one global step → symbols → sections → artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from golf import durable
from golf.artifact import BudgetEntry, assemble, open_artifact
from golf.checkpoint import load_latest
from golf.compress.allocate import Solution, finest_scale, least_scale, solve
from golf.compress.codec import Prepared, distortion, prepare_matrix
from golf.compress.factorize import LowRank
from golf.compress.sensitivity import measure
from golf.data import Batches, TokenSet, prepare
from golf.draft import Draft, Packed, as_weights, make_claim
from golf.errors import CapError, DamagedCheckpoint, UsageError
from golf.evaluate import Score, evaluate
from golf.interrupt import StopFlag
from golf.ledger import artifact_ledger
from golf.model import Transformer
from golf.observer import Observer
from golf.rebuild import rebuild
from golf.recipe import Recipe, recipe_from_dict
from golf.results import PackResult
from golf.runs import Run

_STOPPED = "stopped while packing; no artifact was written"
# The claim is measured after the size is solved. Its digits may compress some bytes worse than the placeholder's: try
# with hardly any room for that, and again with more.
_CLAIM_SLACKS = (8, 24, 64)
# What a training leaves for packing, beside the weights.
_STATE = {"recipe", "step", "text"}
# A global step beyond which every symbol is zero, and which float32 still holds.
_ENDLESS = 1e30
# Windows of TRAINING text on which the roomy end of the curve is measured.
_LOOK_TOKENS = 16_384
# Halvings of the step beyond the one whose predicted gap is small enough, until the measured gap is so too.
_MOST_REFINEMENTS = 8


@dataclass(frozen=True)
class _Source:
    """What is packed: a checkpoint, the text it came from, and how to be watched and stopped."""

    recipe: Recipe
    model: Transformer
    data: TokenSet
    device: torch.device
    observer: Observer
    check: Callable[[], None]


def pack(
    run: Run,
    *,
    cap: int | None,
    code_bytes: int | None,
    out: Path,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    low_rank: LowRank | None = None,
    observer: Observer = Observer(),
) -> PackResult:
    """Write the best artifact of `run`'s newest checkpoint whose size + code stays within `cap` bytes to `out`.

    `cap`, `code_bytes` and `low_rank` default to the recipe's. Raises CapError, with the smallest reachable size, when
    the cap is out of reach; then and on every other failure a file at `out` stays as it was.
    """
    clock = _Stages()
    source = _load(run, cache, device, stop, observer, {"cap": cap, "code_bytes": code_bytes}, low_rank)
    stated = source.recipe.budget
    budget = BudgetEntry(cap=stated.cap, code_bytes=stated.code_bytes)
    clock.done("load")
    prepared = _prepare(source)
    clock.done("calibrate")
    float_score = _score(source, source.model)
    clock.done("measure float")
    draft = _draft(source, prepared, budget, float_score)
    solution, score = _fit_and_publish(draft, source, float_score, out, clock)
    ledger = artifact_ledger(open_artifact(out))
    coded = zip(prepared, solution.packed.coded, strict=True)
    return PackResult(
        artifact=out,
        cap=budget.cap,
        code_bytes=budget.code_bytes,
        size=ledger.total,
        binding=solution.binding,
        bits_per_weight=8 * sum(m.bytes for m in ledger.matrices) / sum(p.scaled.size for p in prepared),
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        loss=score.loss,
        bpb=score.bpb,
        predicted_gap=sum(distortion(matrix, symbols, solution.scale) for matrix, symbols in coded),
        probes=solution.probes,
        seconds=clock.seconds,
        ledger=ledger,
    )


def _load(
    run: Run,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    observer: Observer,
    budget: dict[str, int | None],
    low_rank: LowRank | None,
) -> _Source:
    """The newest sound checkpoint as a model, and the text that it was trained on."""
    checkpoint, note = load_latest(run.folder)
    if note:
        observer.note(note)
    state = checkpoint.state
    if missing := _STATE - state.keys():
        raise DamagedCheckpoint(str(run.checkpoint), f"lacks {', '.join(sorted(missing))}: another release wrote it")
    recipe = recipe_from_dict(state["recipe"], source=str(run.checkpoint))
    given = {
        "budget": {key: value for key, value in budget.items() if value is not None},
        "pack": {} if low_rank is None else {"low_rank": low_rank},
    }
    # what the flags ask for becomes part of the recipe that the artifact states
    merged = {section: getattr(recipe, section).model_dump() | keys for section, keys in given.items()}
    recipe = recipe_from_dict(recipe.model_dump() | merged, source="golf pack")
    if state["step"] < recipe.train.steps:
        observer.note(f"the training stopped at step {state['step']} of {recipe.train.steps}; packing what is there")
    data = prepare(
        recipe.data,
        recipe.tokenizer,
        cache=cache,
        progress=observer.stage,
        stop=partial(stop.raise_if_stopped, _STOPPED),
    )
    if data.fingerprint != state["text"]:
        raise UsageError(f"{run.folder}: the text at hand is not the one this run was trained on; give it back")
    model = _model(checkpoint.tensors, recipe, data.tokenizer.vocab_size, run).to(device)
    return _Source(recipe, model, data, device, observer, partial(stop.raise_if_stopped, _STOPPED))


def _model(tensors: dict[str, Tensor], recipe: Recipe, vocab_size: int, run: Run) -> Transformer:
    model = Transformer(recipe.model, vocab_size)
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise DamagedCheckpoint(
                f"{run.checkpoint}: {name}", "holds weights that are not finite; it cannot be packed"
            )
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise DamagedCheckpoint(str(run.checkpoint), "its weights do not fit its own recipe") from None
    return model


def _windows(source: _Source, tokens: int) -> Iterator[Tensor]:
    """About `tokens` tokens of TRAINING text as windows (1, T+1) int64."""
    recipe = source.recipe
    T = recipe.train.sequence_length
    # another seed than training's, so that windows start elsewhere
    batches = Batches(source.data.train, batch_tokens=T, sequence_length=T, seed=recipe.seed + 1)
    count = max(1, tokens // T)
    for index in range(count):
        source.check()
        source.observer.stage("calibrate", index / count)
        yield torch.from_numpy(batches.batch(index)).to(source.device)


def _prepare(source: _Source) -> list[Prepared]:
    """Sensitivities from training text, and every matrix scaled by the steps that follow from them."""
    recipe = source.recipe
    windows = _windows(source, recipe.pack.calibration_tokens)
    sensitivities = measure(source.model, windows, seed=recipe.seed, row_smoothing=recipe.pack.row_smoothing)
    return [
        prepare_matrix(name, as_weights(p), sensitivities[name], low_rank=recipe.pack.low_rank)
        for name, p in source.model.named_parameters()
        if p.ndim == 2
    ]


def _draft(source: _Source, prepared: list[Prepared], budget: BudgetEntry, float_score: Score) -> Draft:
    """The pack to be solved for, with the float model's score in the claim's place."""

    def step(name: str, share: float) -> None:
        source.check()
        source.observer.stage(f"pack {name}", share)

    claim = make_claim(
        source.recipe, float_score, float_score, text=_scored_text(source, float_score), device=source.device.type
    )
    return Draft(source.recipe, source.model, source.data.tokenizer, prepared, budget, claim, step)


def _fit_and_publish(
    draft: Draft, source: _Source, float_score: Score, out: Path, clock: _Stages
) -> tuple[Solution[Packed], Score]:
    """Solve for the cap, measure what was written, and write it again with that as its claim."""
    for slack in _CLAIM_SLACKS:
        solution = _fit(draft, source, slack)
        clock.done("solve")
        score = _publish(draft, solution.packed, source, float_score, out)
        clock.done("measure packed")
        if score is not None:
            return solution, score
    raise CapError(f"the claim takes more than {_CLAIM_SLACKS[-1]} bytes over its estimate; lower --cap by some bytes")


def _fit(draft: Draft, source: _Source, slack: int) -> Solution[Packed]:
    """The finest pack under the cap that still pays, or CapError with the smallest reachable size."""
    budget = draft.budget
    room = budget.cap - budget.code_bytes - slack
    target = source.recipe.pack.target_gap
    least = max(least_scale(float(np.linalg.norm(p.scaled))) for p in draft.prepared)
    finest = max(finest_scale(sum(p.scaled.size for p in draft.prepared), target), least)
    found = _solve(draft, room, finest)
    for _ in range(_MOST_REFINEMENTS):
        # The prediction knows curvature only. A model that is still far from its optimum also has slopes.
        if found.binding or finest == least or _training_gap(draft, found.packed, source) <= target:
            break
        finest = max(finest / 2, least)
        found = _solve(draft, room, finest)
    return found


def _solve(draft: Draft, room: int, finest: float) -> Solution[Packed]:
    found = solve(draft.build, room=room, finest=finest)
    if isinstance(found, Solution):
        return found
    raise CapError(_out_of_reach(draft, room, found))


def _training_gap(draft: Draft, packed: Packed, source: _Source) -> float:
    """Loss of the packed model minus the float model's, nats per token, on training text."""
    rebuilt, difference, count = draft.decoded(packed), 0.0, 0
    with torch.inference_mode():
        for window in _windows(source, _LOOK_TOKENS):
            difference += float(rebuilt.loss(window) - source.model.loss(window))
            count += 1
    return difference / count


def _out_of_reach(draft: Draft, room: int, smallest: int) -> str:
    """The smallest reachable size, and what dominates it."""
    cap = draft.budget.cap
    needed = smallest + cap - room  # the code, and room for the claim's digits
    _, packed = draft.build(_ENDLESS)
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


def _publish(draft: Draft, packed: Packed, source: _Source, float_score: Score, out: Path) -> Score | None:
    """Write the artifact without a claim, score what is re-read from disk, and put it with its claim at `out`.

    None, and nothing at `out`, where the claim's digits took the file over the cap.
    """
    unmeasured = durable.temporary_beside(out)
    try:
        durable.write_bytes(unmeasured, assemble(replace(packed.manifest, claim=None), packed.payloads))
        score = _score(source, rebuild(open_artifact(unmeasured)).model.to(source.device))
    finally:
        unmeasured.unlink(missing_ok=True)
    text = _scored_text(source, score)
    claim = make_claim(source.recipe, score, float_score, text=text, device=source.device.type)
    content = assemble(replace(packed.manifest, claim=claim), packed.payloads)
    if len(content) + draft.budget.code_bytes > draft.budget.cap:
        return None
    durable.write_bytes(out, content)
    return score


def _score(source: _Source, model: Transformer) -> Score:
    """Loss on the validation text of the claim."""
    recipe, data = source.recipe, source.data
    # one more token than targets, so that a power of two of them are scored
    tokens = data.val.slice(0, min(recipe.verify.tokens + 1, len(data.val)))
    return evaluate(
        model,
        tokens,
        data.tokenizer.byte_counts(tokens),
        sequence_length=recipe.train.sequence_length,
        device=source.device,
        progress=lambda share: source.observer.stage("measure", share),
        stop=source.check,
    )


def _scored_text(source: _Source, score: Score) -> bytes:
    """The text of the scored targets and of the first context token."""
    return source.data.tokenizer.decode(source.data.val.slice(0, score.tokens + 1))


class _Stages:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 3)
        self._since = now
