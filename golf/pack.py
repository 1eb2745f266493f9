"""The second flow: checkpoint → sensitivity → one global step → symbols → sections → artifact."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from golf import __version__, durable
from golf.artifact import (
    BudgetEntry,
    Claim,
    Manifest,
    Payload,
    TensorEntry,
    TokenizerEntry,
    assemble,
    compress_zstd,
    open_artifact,
)
from golf.checkpoint import load_latest
from golf.compress.allocate import Solution, finest_scale, solve
from golf.compress.codec import Coded, Prepared, Weights, code_matrix, distortion, pack_matrix, prepare_matrix
from golf.compress.sensitivity import measure
from golf.data import Batches, TokenSet, load_tokenizer, prepare
from golf.data.tokenizer import Tokenizer
from golf.errors import CapError, DamagedCheckpoint, UsageError
from golf.evaluate import Score, evaluate
from golf.interrupt import StopFlag
from golf.ledger import artifact_ledger
from golf.model import Transformer
from golf.observer import Observer
from golf.rebuild import ContentDigest, rebuild
from golf.recipe import Recipe, recipe_from_dict
from golf.results import PackResult
from golf.runs import Run

# The claim is measured after the size is solved; its digits may compress a few bytes worse than the placeholder's.
_CLAIM_SLACK = 48
_CODECS = ("constriction", "numpy", "sentencepiece", "torch", "zstandard")


@dataclass(frozen=True)
class _Source:
    """What is packed: a finished checkpoint and the text it came from."""

    recipe: Recipe
    model: Transformer
    tokenizer: Tokenizer
    data: TokenSet
    device: torch.device


def pack(
    run: Run,
    *,
    cap: int | None,
    code_bytes: int | None,
    out: Path,
    cache: Path,
    device: torch.device,
    stop: StopFlag,
    low_rank: str | None = None,
    observer: Observer = Observer(),
) -> PackResult:
    """Write the best artifact of `run`'s newest checkpoint whose size + code stays within `cap` bytes to `out`.

    `cap` and `code_bytes` default to the recipe's. Raises CapError, with the smallest reachable size, when the cap is
    out of reach; then and on every other failure a file at `out` stays as it was.
    """
    clock = _Stages(observer)
    source = _load(run, cache, device, stop, observer, low_rank)
    budget = BudgetEntry(
        cap=source.recipe.budget.cap if cap is None else cap,
        code_bytes=source.recipe.budget.code_bytes if code_bytes is None else code_bytes,
    )
    clock.done("load")
    prepared = _prepare(source, stop, observer)
    clock.done("calibrate")
    float_score = _score(source.model, source, stop)
    clock.done("measure float")
    draft = _Draft(source, prepared, budget, float_score, stop, observer)
    solution = _fit(draft, budget)
    clock.done("solve")
    predicted = sum(distortion(p, c, solution.scale) for p, c in zip(prepared, solution.packed.coded, strict=True))
    score, size = _publish(draft, solution.packed, source, out, stop)
    clock.done("measure")
    artifact = open_artifact(out)
    weights = sum(int(np.prod(p.scaled.shape)) for p in prepared)
    ledger = artifact_ledger(artifact)
    return PackResult(
        artifact=out,
        cap=budget.cap,
        code_bytes=budget.code_bytes,
        size=size,
        binding=solution.binding,
        bits_per_weight=8 * sum(m.bytes for m in ledger.matrices) / weights,
        float_loss=float_score.loss,
        float_bpb=float_score.bpb,
        loss=score.loss,
        bpb=score.bpb,
        predicted_gap=predicted,
        probes=solution.probes,
        seconds=clock.seconds,
        ledger=ledger,
    )


def _load(
    run: Run, cache: Path, device: torch.device, stop: StopFlag, observer: Observer, low_rank: str | None
) -> _Source:
    """The newest sound checkpoint as a model, with its own tokenizer and the training text."""
    checkpoint, note = load_latest(run.folder)
    if note:
        observer.note(note)
    state = checkpoint.state
    recipe = recipe_from_dict(state["recipe"], source=str(run.checkpoint))
    if low_rank:
        recipe = recipe.model_copy(update={"pack": recipe.pack.model_copy(update={"low_rank": low_rank})})
    if state["step"] < recipe.train.steps:
        observer.note(f"the training stopped at step {state['step']} of {recipe.train.steps}; packing what is there")
    serialized = bytes(checkpoint.tensors["tokenizer"].numpy()) if state["tokenizer_kind"] != "bytes" else b""
    tokenizer = load_tokenizer(state["tokenizer_kind"], serialized)
    data = prepare(recipe.data, recipe.tokenizer, cache=cache, progress=observer.stage, stop=stop.stopped)
    if data.tokenizer.digest != tokenizer.digest:
        raise UsageError(
            f"{run.folder}: the text at hand is not the one this run was trained on; give it back its data"
        )
    return _Source(recipe, _model(checkpoint.tensors, recipe, tokenizer, run, device), tokenizer, data, device)


def _model(
    tensors: dict[str, Tensor], recipe: Recipe, tokenizer: Tokenizer, run: Run, device: torch.device
) -> Transformer:
    model = Transformer(recipe.model, tokenizer.vocab_size)
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise DamagedCheckpoint(
                f"{run.checkpoint}: {name}", "holds weights that are not finite; it cannot be packed"
            )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DamagedCheckpoint(str(run.checkpoint), f"does not fit its own recipe: {error}") from None
    return model.to(device)


def _prepare(source: _Source, stop: StopFlag, observer: Observer) -> list[Prepared]:
    """Sensitivities from TRAINING text, and every matrix scaled by the steps that follow from them."""
    recipe = source.recipe
    T = recipe.train.sequence_length
    # another seed than training's, so that windows start elsewhere
    batches = Batches(source.data.train, batch_tokens=T, sequence_length=T, seed=recipe.seed + 1)
    count = max(1, recipe.pack.calibration_tokens // T)

    def windows() -> Iterator[Tensor]:
        for index in range(count):
            observer.stage("calibrate", index / count)
            yield torch.from_numpy(batches.batch(index)).to(source.device)

    sensitivities = measure(
        source.model,
        windows(),
        seed=recipe.seed,
        row_smoothing=recipe.pack.row_smoothing,
        stop=_stopping(stop),
    )
    return [
        prepare_matrix(name, _numpy(p), sensitivities[name], low_rank=recipe.pack.low_rank)
        for name, p in source.model.named_parameters()
        if p.ndim == 2
    ]


@dataclass(frozen=True)
class _Packed:
    """One pack at one global step: its integers, its sections, its manifest."""

    coded: list[Coded]
    payloads: list[Payload]
    manifest: Manifest


@dataclass(frozen=True)
class _Draft:
    """Packs the prepared matrices at any global step, with a claim still to be measured."""

    source: _Source
    prepared: list[Prepared]
    budget: BudgetEntry
    float_score: Score
    stop: StopFlag
    observer: Observer

    def build(self, scale: float) -> tuple[int, _Packed]:
        """Real bytes of the file at `scale`, and the file's parts."""
        recipe = self.source.recipe
        coded, payloads = [], [*self._fixed_payloads()]
        for index, prepared in enumerate(self.prepared):
            _stopping(self.stop)()
            self.observer.stage(f"pack {prepared.name}", index / len(self.prepared))
            matrix = code_matrix(prepared, scale, low_rank=recipe.pack.low_rank)
            coded.append(matrix)
            for part, (codec, size, content) in pack_matrix(matrix, coder=recipe.pack.coder).items():
                payloads.append(Payload(f"{prepared.name}/{part}", codec, size, content))
        packed = _Packed(coded, payloads, self._manifest(coded))
        return len(assemble(packed.manifest, payloads)), packed

    def _fixed_payloads(self) -> Iterator[Payload]:
        if serialized := self.source.tokenizer.serialized:
            yield _plain_payload("tokenizer", serialized)
        yield _plain_payload("small", b"".join(_small_bytes(p) for _, p in self._small()))

    def _small(self) -> list[tuple[str, Tensor]]:
        return [(n, p) for n, p in self.source.model.named_parameters() if p.ndim != 2]

    def _manifest(self, coded: list[Coded]) -> Manifest:
        """Everything but the section table; the claim's digits are the float model's until it is measured."""
        recipe, tokenizer = self.source.recipe, self.source.tokenizer
        by_name = {matrix.name: matrix for matrix in coded}
        digest, entries = ContentDigest(), []
        for name, parameter in self.source.model.named_parameters():
            shape = tuple(parameter.shape)
            if (matrix := by_name.get(name)) is None:
                digest.small(_small_bytes(parameter))
                entries.append(TensorEntry(name=name, shape=shape, kind="small", rank=0, parameters={}))
                continue
            digest.matrix(matrix)
            parameters = {"step": matrix.step}
            if matrix.factors.rank:
                parameters["factor_step"] = matrix.factors.base
            entries.append(
                TensorEntry(name=name, shape=shape, kind="matrix", rank=matrix.factors.rank, parameters=parameters)
            )
        return Manifest(
            golf=__version__,
            recipe=recipe.model_dump(mode="json", exclude_none=True),
            model=recipe.model.model_dump(mode="json"),
            tokenizer=TokenizerEntry(
                kind=tokenizer.kind,
                vocab_size=tokenizer.vocab_size,
                sha256=hashlib.sha256(tokenizer.serialized).hexdigest(),
            ),
            tensors=tuple(entries),
            content_sha256=digest.hexdigest(),
            claim=_claim(self.source, self.float_score, self.float_score),
            budget=self.budget,
            versions={name: version(name) for name in _CODECS},
        )


def _fit(draft: _Draft, budget: BudgetEntry) -> Solution[_Packed]:
    """The finest pack under the cap, or CapError with the smallest reachable size and what dominates it."""
    room = budget.cap - budget.code_bytes - _CLAIM_SLACK
    weights = sum(p.scaled.size for p in draft.prepared)
    found = solve(draft.build, room=room, finest=finest_scale(weights, draft.source.recipe.pack.target_gap))
    if isinstance(found, Solution):
        return found
    parts = {"tokenizer": len(compress_zstd(draft.source.tokenizer.serialized or b"\0", 19))}
    raise CapError(
        f"no artifact of this checkpoint fits in {budget.cap:,} bytes ({budget.code_bytes:,} of them code): the "
        f"smallest reachable is {found + budget.code_bytes + _CLAIM_SLACK:,} bytes, of which the tokenizer takes "
        f"{parts['tokenizer']:,} and the rest is scales and manifest; raise --cap or train a smaller model"
    )


def _publish(draft: _Draft, packed: _Packed, source: _Source, out: Path, stop: StopFlag) -> tuple[Score, int]:
    """Write the artifact unmeasured, re-read and score it, and put it with its claim at `out`."""
    unmeasured = out.with_name(f"{out.name}.unmeasured")
    try:
        durable.write_bytes(unmeasured, assemble(replace(packed.manifest, claim=None), packed.payloads))
        score = _score(rebuild(open_artifact(unmeasured)).model.to(source.device), source, stop)
    finally:
        unmeasured.unlink(missing_ok=True)
    manifest = replace(packed.manifest, claim=_claim(source, score, draft.float_score))
    content = assemble(manifest, packed.payloads)
    if len(content) + draft.budget.code_bytes > draft.budget.cap:
        raise AssertionError("the claim's digits outgrew their slack")
    durable.write_bytes(out, content)
    return score, len(content)


def _score(model: Transformer, source: _Source, stop: StopFlag) -> Score:
    recipe = source.recipe
    # one more token than targets, so that a power of two of them are scored
    tokens = source.data.val.slice(0, min(recipe.verify.tokens + 1, len(source.data.val)))
    return evaluate(
        model,
        tokens,
        source.tokenizer.byte_counts(tokens),
        sequence_length=recipe.train.sequence_length,
        device=source.device,
        stop=_stopping(stop),
    )


def _claim(source: _Source, score: Score, float_score: Score) -> Claim:
    text = source.tokenizer.decode(source.data.val.slice(0, score.tokens + 1))
    return Claim(
        val_loss=round(score.loss, 6),
        bpb=round(score.bpb, 6),
        tokens=score.tokens,
        bytes=score.bytes,
        text_sha256=hashlib.sha256(text).hexdigest(),
        device=source.device.type,
        dtype="float32",
        tolerance=source.recipe.verify.loss_tolerance,
        float_val_loss=round(float_score.loss, 6),
        float_bpb=round(float_score.bpb, 6),
    )


def _plain_payload(name: str, content: bytes) -> Payload:
    """A section stored as it is, or as zstd where that is smaller."""
    frame = compress_zstd(content, 19) if content else b""
    codec, stored = ("zstd", frame) if frame and len(frame) < len(content) else ("raw", content)
    return Payload(name, codec, len(content), stored)


def _small_bytes(parameter: Tensor) -> bytes:
    return _numpy(parameter).astype("<f4").tobytes()


def _numpy(parameter: Tensor) -> Weights:
    array: Weights = parameter.detach().float().cpu().numpy()
    return array


def _stopping(stop: StopFlag) -> Callable[[], None]:
    return lambda: stop.raise_if_stopped("stopped while packing; no artifact was written")


class _Stages:
    """Seconds spent in each stage."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._since = observer, time.monotonic()
        self.seconds: dict[str, float] = {}

    def done(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name], self._since = round(now - self._since, 3), now
        self._observer.stage(name, 1.0)
