"""Probe the model of a golf artifact: probabilities sum to one, and no prediction depends on later tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from golf.artifact import MAGIC, Claim, open_artifact
from golf.contest.rules.findings import Finding, unknown, verdict
from golf.contest.rules.folder import Submission
from golf.errors import DamagedFile
from golf.evaluation.rebuild import rebuild
from golf.model import Transformer

_LENGTH, _BATCH, _SEED = 64, 4, 0
# Tolerance of float32 logits: a matmul may sum in another order for another input, without depending on later tokens.
_ROUNDING = 1e-4
_RULES = ("model.sound", "model.normalised", "model.causal")


@dataclass(frozen=True)
class Probed:
    """Findings on the model, and the artifact's claim."""

    findings: list[Finding]
    claim: Claim | None = None


def probe(found: Submission) -> Probed:
    """model.sound, model.normalised and model.causal on the first golf artifact of a folder."""
    name = next((name for name in found.models if _is_ours(found, name)), None)
    if name is None:
        return Probed([unknown(rule, "no artifact of golf's is there to be probed") for rule in _RULES])
    try:
        artifact = open_artifact(found.folder / name)
        model = rebuild(artifact).model
    except DamagedFile as error:
        unprobed = [unknown(rule, "the artifact is not sound") for rule in _RULES[1:]]
        return Probed([verdict(_RULES[0], False, f"{name}: {error.args[0]}"), *unprobed])
    sound = verdict(_RULES[0], True, f"{name} opens and decodes, {artifact.manifest.weights:,} weights")
    return Probed([sound, *probe_model(model)], artifact.manifest.claim)


def _is_ours(found: Submission, name: str) -> bool:
    with (found.folder / name).open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@torch.inference_mode()
def probe_model(model: Transformer) -> Iterator[Finding]:
    """model.normalised and model.causal of any model that maps tokens (B, T) to logits (B, T, V)."""
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(model.vocab_size, (_BATCH, _LENGTH), generator=generator)
    logits = model(tokens).double()
    sums = torch.softmax(logits, dim=-1).sum(-1)
    error = float((sums - 1).abs().max())
    normal = bool(torch.isfinite(logits).all()) and logits.shape[-1] == model.vocab_size and error < 1e-9
    text = f"{'finite' if normal else 'not finite'} logits of {model.vocab_size} tokens, whose softmax sums to 1"
    yield verdict("model.normalised", normal, text)
    cut = _LENGTH // 2
    changed = tokens.clone()
    changed[:, cut:] = torch.randint(model.vocab_size, (_BATCH, _LENGTH - cut), generator=generator)
    moved = float((model(changed).double()[:, :cut] - logits[:, :cut]).abs().max())
    text = f"other tokens from position {cut} on move earlier logits by {moved:.1e}"
    yield verdict("model.causal", moved < _ROUNDING, text)
