"""The third flow: a file → the model it holds → its loss → a verdict. It knows nothing of training or packing."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from golf.artifact import BudgetEntry, Claim, Limits, open_artifact
from golf.data import evaluation_tokens, text_tokens
from golf.errors import DataError
from golf.evaluate import Score, evaluate, scored_targets
from golf.interrupt import StopFlag
from golf.observer import Observer
from golf.rebuild import Rebuilt, rebuild
from golf.results import Check, Verdict


class Bound(NamedTuple):
    """A limit and whose it is: a flag, a recipe's path, or the artifact."""

    value: float
    whose: str


@dataclass(frozen=True)
class Bounds:
    """What the caller holds the artifact against; None leaves it to the artifact's own claim."""

    cap: Bound | None = None
    code_bytes: Bound | None = None
    max_bpb: Bound | None = None


def verify(
    path: Path,
    *,
    bounds: Bounds,
    data: Path | None,
    device: torch.device,
    stop: StopFlag,
    limits: Limits | None = None,
    observer: Observer = Observer(),
) -> Verdict:
    """Rebuild the model from `path` alone, measure its loss, and hold size and loss against their bounds.

    The artifact's loss is held only against a measurement on the text it was claimed for. Raises DamagedFile for a
    file that is not sound, DataError when there is no text to score.
    """
    began = time.monotonic()
    observer.stage("read", 0.0)
    artifact = open_artifact(path, limits)
    manifest, rebuilt = artifact.manifest, rebuild(artifact)
    observer.stage("read", 1.0)
    text = _text(rebuilt, data, manifest.claim)
    score = evaluate(
        rebuilt.model.to(device),
        text.tokens,
        rebuilt.tokenizer.byte_counts(text.tokens),
        sequence_length=rebuilt.recipe.train.sequence_length,
        device=device,
        progress=lambda share: observer.stage("measure", share),
        stop=lambda: stop.raise_if_stopped("stopped while measuring; no verdict"),
    )
    checks = [
        _size_check(artifact.size, bounds, manifest.budget),
        *_loss_checks(score, bounds, rebuilt.recipe.budget.max_bpb, manifest.claim if text.claimed else None),
    ]
    return Verdict(
        artifact=path,
        size=artifact.size,
        loss=score.loss,
        bpb=score.bpb,
        tokens=score.tokens,
        bytes=score.bytes,
        text=text.name,
        notes=text.notes,
        checks=checks,
        seconds=round(time.monotonic() - began, 3),
    )


@dataclass(frozen=True)
class _Text:
    """Tokens to score, what they are called, and whether they are the text of the claim."""

    name: str
    tokens: NDArray[np.uint16]
    claimed: bool
    notes: list[str]


def _text(rebuilt: Rebuilt, data: Path | None, claim: Claim | None) -> _Text:
    """The validation text of the artifact's recipe, or the text at `data`.

    Where `data` is the recipe's own corpus, moved, its validation split is the claimed text; else all of it is scored.
    """
    recipe = rebuilt.recipe
    limit = recipe.verify.tokens + 1
    section = recipe.data
    if data is not None:
        name = str(data)
        if section.source != "stdlib":
            key = "val_path" if section.val_path else "path"
            try:
                split = evaluation_tokens(section.model_copy(update={key: str(data)}), rebuilt.tokenizer, limit=limit)
                if _is_claimed(rebuilt, split, claim):
                    return _Text(name, split, claimed=True, notes=[])
            except DataError:
                pass  # another kind of text than the recipe's: read it whole
        tokens = text_tokens(data, section, rebuilt.tokenizer, limit=limit)
    else:
        name = {"stdlib": "the validation split of this Python's standard library"}.get(
            section.source, f"the validation split of {section.path}"
        )
        tokens = evaluation_tokens(section, rebuilt.tokenizer, limit=limit)
    if len(tokens) < 2:
        raise DataError(f"{name} holds no text to score; name another with --data")
    if _is_claimed(rebuilt, tokens, claim):
        return _Text(name, tokens, claimed=True, notes=[])
    note = (
        "the text at hand is not the one the claim was measured on (another Python version has another library), so "
        "only the caps are held against it; name the claimed text with --data"
        if data is None
        else "this is another text than the claim's, so only the caps are held against it"
    )
    return _Text(name, tokens, claimed=False, notes=[note] if claim else ["the artifact claims no loss"])


def _is_claimed(rebuilt: Rebuilt, tokens: NDArray[np.uint16], claim: Claim | None) -> bool:
    """Whether the scored part of `tokens` is the text whose digest the claim states."""
    targets = scored_targets(len(tokens), rebuilt.recipe.train.sequence_length)
    text = rebuilt.tokenizer.decode(tokens[: targets + 1])
    return claim is not None and hashlib.sha256(text).hexdigest() == claim.text_sha256


def _size_check(size: int, bounds: Bounds, budget: BudgetEntry) -> Check:
    """Bytes of the file and of the code beside it against the cap."""
    cap = bounds.cap or Bound(budget.cap, "artifact")
    code = int((bounds.code_bytes or Bound(budget.code_bytes, "artifact")).value)
    name = f"bytes, {code:,} of code included" if code else "bytes"
    margin = int(cap.value) - size - code
    return Check(name, int(cap.value), size + code, margin >= 0, cap.whose, margin)


def _loss_checks(score: Score, bounds: Bounds, own_limit: float | None, claim: Claim | None) -> list[Check]:
    """Loss against the claim (None where it cannot be held), bits per byte against the largest allowed.

    A claim fails in both directions: a loss far below it was not measured on this file either.
    """
    checks = []
    if claim is not None:
        off = abs(score.loss - claim.val_loss)
        checks.append(
            Check(
                "nats per token", claim.val_loss, score.loss, off <= claim.tolerance, "artifact", claim.tolerance - off
            )
        )
    limit = bounds.max_bpb or (None if own_limit is None else Bound(own_limit, "artifact"))
    if limit is not None:
        checks.append(
            Check(
                "bits per byte", limit.value, score.bpb, score.bpb <= limit.value, limit.whose, limit.value - score.bpb
            )
        )
    elif claim is not None:
        checks.append(Check("bits per byte", claim.bpb, score.bpb, None, "artifact", claim.bpb - score.bpb))
    else:
        checks.append(Check("bits per byte", None, score.bpb, None, "artifact"))
    return checks
