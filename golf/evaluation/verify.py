"""The flow `verify`: artifact → model → loss → verdict. It imports neither training nor packing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from golf.artifact import Artifact, Limits, open_artifact
from golf.evaluation.checks import Bound, Bounds, bound_checks, claim_checks, proof_checks, size_check
from golf.evaluation.find_text import NamedText, TextChoice, TextFinder
from golf.evaluation.loss import Score, windows_per_pass
from golf.evaluation.prove import prove
from golf.evaluation.rebuild import Rebuilt, rebuild
from golf.evaluation.results import Check, Measured, Proof, Verdict
from golf.evaluation.score_text import score_text
from golf.model.cost import forward_flops
from golf.runtime.interrupt import StopFlag
from golf.runtime.observer import Observer

__all__ = ["Bound", "Bounds", "TextChoice", "verify"]

_STOPPED = "stopped while measuring; no verdict"


def verify(
    path: Path,
    *,
    bounds: Bounds,
    choice: TextChoice | None = None,
    caps_only: bool = False,
    proved_tokens: int = 0,
    device: torch.device,
    stop: StopFlag,
    limits: Limits | None = None,
    observer: Observer = Observer(),
) -> Verdict:
    """Rebuild the model from `path` alone, measure its loss, and check size and loss against their bounds.

    The artifact's claim is checked on the claim's own text and slice, the verifier's bounds on the text that `choice`
    names. With `caps_only` no loss is measured; `proved_tokens` of the measured text are coded and decoded. Raises
    DamagedFile for a file that is not sound, DataError where there is no text to score, UsageError where bits per byte
    are bounded and nobody knows the bytes of the text.
    """
    began, check = time.monotonic(), partial(stop.raise_if_stopped, _STOPPED)
    observer.stage("read", 0.0)
    artifact = open_artifact(path, limits)
    limits = limits or Limits()
    rebuilt = rebuild(artifact, poll=check, limits=limits)
    observer.stage("read", 1.0)
    verdict = Verdict(
        artifact=path,
        size=artifact.size,
        claim=None,
        own=None,
        notes=[],
        checks=[size_check(artifact.size, bounds, artifact.manifest.budget)],
        seconds=0.0,
    )
    if not caps_only:
        allowed = partial(limits.check_flops, file_size=artifact.size)
        measure = _Measure(rebuilt, choice or TextChoice(), device, check, observer, allowed)
        verdict = _with_losses(verdict, artifact, measure, bounds, proved_tokens)
    return replace(verdict, seconds=round(time.monotonic() - began, 3))


@dataclass(frozen=True)
class _Measure:
    """Measures the model on texts in the windows that the verifier chose, or in the artifact's own."""

    rebuilt: Rebuilt
    choice: TextChoice
    device: torch.device
    check: Callable[[], None]
    observer: Observer
    allowed: Callable[[float], None]
    """Raises for more FLOPs than the artifact may ask for."""

    def score(self, text: NamedText, *, window: int | None) -> Score:
        self.refuse_costly(len(text.text.tokens) - 1, window)
        return score_text(
            self.rebuilt.model.to(self.device),
            text.text,
            self.rebuilt.tokenizer,
            sequence_length=window or self.rebuilt.recipe.train.sequence_length,
            device=self.device,
            progress=lambda share: self.observer.stage("measure", share),
            stop=self.check,
        )

    def refuse_costly(self, targets: int, window: int | None) -> None:
        """Raise DamagedFile where so many targets take more FLOPs to score than the file may ask for."""
        shape, vocab = self.rebuilt.model.shape, self.rebuilt.model.vocab_size
        T = min(window or self.rebuilt.recipe.train.sequence_length, max(targets, 1))
        windows = -(-max(targets, 1) // T)
        at_once = min(windows, windows_per_pass(shape, vocab, T))
        self.allowed(forward_flops(shape, vocab, windows=at_once, sequence_length=T) * windows / at_once)

    def prove(self, text: NamedText, *, tokens: int, window: int | None) -> Proof:
        return prove(
            self.rebuilt.model.to(self.device),
            text.text,
            self.rebuilt.tokenizer,
            tokens=tokens,
            sequence_length=window or self.rebuilt.recipe.train.sequence_length,
            device=self.device,
            progress=lambda share: self.observer.stage("prove", share),
            stop=self.check,
        )


def _with_losses(verdict: Verdict, artifact: Artifact, measure: _Measure, bounds: Bounds, proved: int) -> Verdict:
    """The verdict with the claim's checks where its text is at hand, and with the verifier's own."""
    rebuilt, choice, claim = measure.rebuilt, measure.choice, artifact.manifest.claim
    version, notes, checks = artifact.header.version, list(verdict.notes), list[Check]()
    if claim is not None:  # before a claim decides how much text is read
        measure.refuse_costly(min(claim.tokens, rebuilt.recipe.verify.tokens), None)
    finder = TextFinder(rebuilt, choice, measure.check, measure.observer.note)
    claimed = None if claim is None else finder.claims(claim, version=version)
    own = finder.verifiers() if bounds.of_loss or claimed is None else None
    score = None if claimed is None else measure.score(claimed, window=None)
    held = None
    if claimed is not None and score is not None and claim is not None:
        held = claimed.measured(score)
        checks += claim_checks(score, held, claim, version)
        checks += _own_limit(held, bounds, rebuilt.recipe.budget.max_bpb)
    else:
        notes.append("the artifact claims no loss" if claim is None else _other_text(rebuilt, choice))
    found = None
    if own is None and choice.of_own_text:
        notes.append("the claim is held on its own slice; options that choose your text need --max-bpb or --max-loss")
    if own is not None:
        same = claimed is not None and choice.window is None and own.text.equals(claimed.text)
        found = own.measured(score if same and score is not None else measure.score(own, window=choice.window))
        checks += bound_checks(found, bounds)
        if bounds.of_loss and choice.data is None:
            notes.append("the artifact names the text that this bound is held on; --data holds it on a text of yours")
    proof = None
    measured = found or held
    if proved and (text := own or claimed) is not None and measured is not None and math.isfinite(measured.loss):
        proof = measure.prove(text, tokens=proved, window=None if own is None else choice.window)
        checks += proof_checks(proof)
    return replace(verdict, claim=held, own=found, notes=notes, checks=verdict.checks + checks, proof=proof)


def _own_limit(held: Measured, bounds: Bounds, limit: float | None) -> list[Check]:
    """The check of the largest bits per byte that the artifact's own recipe allows, unless the verifier bounds them."""
    if limit is None or bounds.max_bpb is not None or held.bpb is None:
        return []
    return bound_checks(held, Bounds(max_bpb=Bound(limit, "artifact")))


def _other_text(rebuilt: Rebuilt, choice: TextChoice) -> str:
    if choice.data is not None:
        return "this is another text than the claim's, so the claim is not held"
    stdlib = rebuilt.recipe.data.source == "stdlib"
    why = " (another Python version has another library)" if stdlib else ""
    return (
        f"the text at hand is not the one the claim was measured on{why}, so the claim is not held; name the claimed "
        "text with --data"
    )
