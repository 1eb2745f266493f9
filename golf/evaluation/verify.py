"""The flow `verify`: artifact → model → loss → verdict. It imports neither training nor packing."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from golf.artifact import BudgetEntry, Claim, Limits, open_artifact
from golf.data import (
    Accounting,
    evaluation_tokens,
    holds_shards,
    refuse_other_tokenizer,
    text_accounting,
    text_tokens,
)
from golf.errors import DamagedFile, DataError
from golf.evaluation.loss import Score, bits_per_byte, measure_loss, scored_targets
from golf.evaluation.rebuild import Rebuilt, rebuild
from golf.evaluation.results import Check, Verdict
from golf.recipe import Data
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

_STOPPED = "stopped while measuring; no verdict"
_OTHER_TEXT = "this is another text than the claim's, so only the caps are held against it"
_NO_CLAIM = "the artifact claims no loss"
# Largest tolerance of a claim, nats per token. Another machine's float32 arithmetic changes a loss by 1e-6 to 1e-4.
MAX_TOLERANCE = 0.01


class Bound(NamedTuple):
    """A limit and its source: a flag, a recipe's path, or the artifact."""

    value: float
    whose: str


# Scored tokens of an artifact without a claim: the contest's largest validation split has 151 million.
_MOST_TOKENS = 200_000_000


@dataclass(frozen=True)
class Bounds:
    """The caller's limits on an artifact; where one is None, the artifact's own limit counts."""

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
    """Rebuild the model from `path` alone, measure its loss, and check size and loss against their bounds.

    The artifact's claim of a loss is checked only on the claim's own text. Raises DamagedFile for a file that is not
    sound, DataError where there is no text to score.
    """
    began = time.monotonic()
    observer.stage("read", 0.0)
    artifact = open_artifact(path, limits)
    check = partial(stop.raise_if_stopped, _STOPPED)
    manifest, rebuilt = artifact.manifest, rebuild(artifact, poll=check)
    observer.stage("read", 1.0)
    text = _text(rebuilt, data, manifest.claim, check)
    score = measure_loss(
        rebuilt.model.to(device),
        text.tokens,
        rebuilt.tokenizer.byte_counts(text.tokens),
        sequence_length=rebuilt.recipe.train.sequence_length,
        device=device,
        progress=lambda share: observer.stage("measure", share),
        stop=check,
    )
    checks = [
        _size_check(artifact.size, bounds, manifest.budget),
        *_byte_checks(text),
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
    """Tokens to score, the text's name, and whether it is the text of the claim."""

    name: str
    tokens: NDArray[np.uint16]
    claimed: bool
    notes: list[str]
    accounting: Accounting | None


def _text(rebuilt: Rebuilt, data: Path | None, claim: Claim | None, check: Callable[[], None]) -> _Text:
    """The validation text of the artifact's recipe, or the text at `data`.

    Where `data` is the recipe's own corpus at another path, its validation split is the claim's text and is scored;
    else all of `data` is scored.
    """
    recipe = rebuilt.recipe
    limit = min(recipe.verify.tokens, claim.tokens if claim else _MOST_TOKENS) + 1
    section = recipe.data
    if data is not None and holds_shards(data):
        return _shards(rebuilt, data, claim, limit, check)
    if data is not None:
        name = str(data)
        if section.source != "stdlib":
            key = "val_path" if section.val_path else "path"
            try:
                split = evaluation_tokens(
                    section.model_copy(update={key: str(data)}), rebuilt.tokenizer, limit=limit, stop=check
                )
                if _is_claimed(rebuilt, split, claim):
                    moved = section.model_copy(update={key: str(data)})
                    counted = text_accounting(moved, rebuilt.tokenizer, path=None, limit=limit, stop=check)
                    return _Text(name, split, True, [], counted)
            except DataError:
                pass  # not the recipe's kind of text: score all of it
        tokens = text_tokens(data, section, rebuilt.tokenizer, limit=limit, stop=check)
    else:
        name = {"stdlib": "the validation split of this Python's standard library"}.get(
            section.source, f"the validation split of {section.path}"
        )
        _refuse_special_files(section)
        tokens = evaluation_tokens(section, rebuilt.tokenizer, limit=limit, stop=check)
    if len(tokens) < 2:
        raise DataError(f"{name} holds no text to score; name another with --data")
    counted = text_accounting(section, rebuilt.tokenizer, path=data, limit=limit, stop=check)
    if _is_claimed(rebuilt, tokens, claim):
        return _Text(name, tokens, True, [], counted)
    why = " (another Python version has another library)" if section.source == "stdlib" else ""
    note = (
        f"the text at hand is not the one the claim was measured on{why}, so "
        "only the caps are held against it; name the claimed text with --data"
        if data is None
        else _OTHER_TEXT
    )
    return _Text(name, tokens, False, [note] if claim else [_NO_CLAIM], counted)


def _shards(rebuilt: Rebuilt, data: Path, claim: Claim | None, limit: int, check: Callable[[], None]) -> _Text:
    """The shard at `data`, or a folder's validation shards, whatever the source of the claim's text was."""
    refuse_other_tokenizer(data, rebuilt.tokenizer)
    section = Data(source="shards", path=str(data))
    if data.is_dir():
        tokens = evaluation_tokens(section, rebuilt.tokenizer, limit=limit, stop=check)
    else:
        tokens = text_tokens(data, section, rebuilt.tokenizer, limit=limit, stop=check)
    if len(tokens) < 2:
        raise DataError(f"{data} holds no text to score; name another with --data")
    claimed = _is_claimed(rebuilt, tokens, claim)
    notes = [] if claimed else [_OTHER_TEXT if claim else _NO_CLAIM]
    return _Text(str(data), tokens, claimed, notes, None)


def _refuse_special_files(section: Data) -> None:
    """A path of an untrusted manifest must be a file or a folder: reading a device or a pipe may never end."""
    for name in (section.path, section.val_path):
        path = None if name is None else Path(name)
        if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{name}, which the artifact names as its text, is no file or folder; name one with --data")


def _is_claimed(rebuilt: Rebuilt, tokens: NDArray[np.uint16], claim: Claim | None) -> bool:
    """Whether the SHA-256 of the scored part of `tokens`, as text, is the claim's text_sha256."""
    targets = scored_targets(len(tokens), rebuilt.recipe.train.sequence_length)
    text = rebuilt.tokenizer.decode(tokens[: targets + 1])
    return claim is not None and hashlib.sha256(text).hexdigest() == claim.text_sha256


def _size_check(size: int, bounds: Bounds, budget: BudgetEntry) -> Check:
    """Check the bytes of the file and of its code against the cap."""
    cap = bounds.cap or Bound(budget.cap, "artifact")
    code = int((bounds.code_bytes or Bound(budget.code_bytes, "artifact")).value)
    name = f"bytes, {code:,} of code included" if code else "bytes"
    margin = int(cap.value) - size - code
    return Check(name, int(cap.value), size + code, margin >= 0, cap.whose, margin)


def _byte_checks(text: _Text) -> list[Check]:
    """Check the denominator of bits per byte: tokens must not count as more bytes than the text has.

    Fewer bytes are allowed, since they only raise bits per byte.
    """
    found = text.accounting
    if found is None or found.counted_bytes == found.text_bytes:
        return []
    margin = found.text_bytes - found.counted_bytes
    return [Check("bytes of the text", found.text_bytes, found.counted_bytes, margin >= 0, "text", margin)]


def _loss_checks(score: Score, bounds: Bounds, own_limit: float | None, claim: Claim | None) -> list[Check]:
    """Check the measured loss against the claim (None where it cannot be), and bits per byte against their limit.

    A claim fails in both directions: a loss far below it was not measured on this file either. A loss that is not
    finite fails every check.
    """
    checks = [] if claim is None else _claim_checks(score, claim)
    limit = bounds.max_bpb or (None if own_limit is None else Bound(own_limit, "artifact"))
    if limit is not None:
        margin = limit.value - score.bpb
        checks.append(Check("largest bits per byte", limit.value, score.bpb, margin >= 0, limit.whose, margin))
    if claim is None and limit is None:
        passed = None if math.isfinite(score.bpb) else False
        checks.append(Check("bits per byte", None, score.bpb, passed, "artifact"))
    return checks


def _claim_checks(score: Score, claim: Claim) -> list[Check]:
    """Check every number of the artifact's claim on the claim's text; raises DamagedFile over MAX_TOLERANCE."""
    if claim.tolerance > MAX_TOLERANCE:
        raise DamagedFile("manifest", f"claims a loss within {claim.tolerance:g}; at most {MAX_TOLERANCE:g} is a claim")
    # the loss's tolerance in bits per byte, and half a unit of the claim's last decimal
    tolerance = bits_per_byte(claim.tolerance, tokens=score.tokens, bytes_=score.bytes) + 5e-7
    loss, bpb = (abs(a - b) for a, b in ((score.loss, claim.val_loss), (score.bpb, claim.bpb)))
    left = claim.tolerance + 5e-7 - loss
    return [
        Check("nats per token", claim.val_loss, score.loss, left >= 0, "artifact", left),
        Check("bits per byte", claim.bpb, score.bpb, tolerance - bpb >= 0, "artifact", tolerance - bpb),
        Check("tokens scored", claim.tokens, score.tokens, claim.tokens == score.tokens, "artifact"),
        Check("bytes scored", claim.bytes, score.bytes, claim.bytes == score.bytes, "artifact"),
    ]
