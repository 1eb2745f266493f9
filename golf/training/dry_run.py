"""Plan a training without running it: parameters, FLOPs, bytes and time; nothing is written and no text is read."""

from __future__ import annotations

import time

import torch

from golf.model import Transformer, flops_per_token, initialize, parameter_shapes, role
from golf.optim import Optimizers, assign
from golf.recipe import Recipe
from golf.training.results import Plan

# Pieces of the byte vocabulary: pad, bos, eos, unk and 256 bytes.
_BYTE_PIECES = 260
# Bits a weight at which a quickstart model reaches the default pack.target_gap: 6.05 (docs/log.md, Predictions).
NOMINAL_BITS = 6.0
# Tokens of a timed pass: enough to measure throughput; takes seconds for a model of the contest's size on two cores.
_TIMED_TOKENS = 2048
# Manifest, tokenizer and scales of an artifact, as measured on the quickstart.
_OVERHEAD = 12_000


def plan(recipe: Recipe, *, device: torch.device) -> Plan:
    """Compute parameters, tokens, FLOPs and predicted bytes; estimate the time from a few steps on random tokens."""
    vocab = _BYTE_PIECES if recipe.tokenizer.kind == "bytes" else recipe.tokenizer.vocab_size
    shapes = dict(parameter_shapes(recipe.model, vocab))
    counts = {name: int(torch.Size(shape).numel()) for name, shape in shapes.items()}
    by_role: dict[str, int] = {}
    assignments: dict[str, dict[str, object]] = {}
    for assignment in assign(recipe.optimizer, shapes):
        key = role(assignment.parameter)
        by_role[key] = by_role.get(key, 0) + counts[assignment.parameter]
        assignments[key] = {"role": key, "optimizer": assignment.optimizer, "lr": assignment.lr}
    total, section = sum(counts.values()), recipe.train
    byte_budget = recipe.budget.cap - recipe.budget.code_bytes
    tokens = section.steps * section.batch_tokens
    return Plan(
        name=recipe.name,
        parameters=total,
        by_role=by_role,
        assignments=list(assignments.values()),
        tokens=tokens,
        flops=tokens * flops_per_token(recipe.model, vocab, section.sequence_length),
        cap=recipe.budget.cap,
        predicted_bytes=max(_OVERHEAD, min(byte_budget, round(total * NOMINAL_BITS / 8) + _OVERHEAD))
        + recipe.budget.code_bytes,
        cap_bits_per_weight=max(0.0, (byte_budget - _OVERHEAD) * 8 / total),
        seconds=section.steps * _seconds_per_step(recipe, vocab, device),
        device=device.type,
    )


def _seconds_per_step(recipe: Recipe, vocab: int, device: torch.device) -> float:
    """The shorter of two times of a micro batch's forward and backward, times their number, plus the optimizer's."""
    section = recipe.train
    model = Transformer(recipe.model, vocab)
    initialize(model, seed=recipe.seed)
    optimizers = Optimizers(recipe.optimizer, model.to(device))
    # the smallest slice that still measures throughput; a full batch of a large recipe would take minutes here
    rows = max(1, min(section.batch_tokens, section.micro_batch_tokens, _TIMED_TOKENS) // section.sequence_length)
    windows = torch.randint(vocab, (rows, section.sequence_length + 1), device=device)
    passes, steps = [], []
    for _ in range(2):  # the first also warms up
        started = _now(device)
        model.loss(windows).backward()  # type: ignore[no-untyped-call]
        middle = _now(device)
        optimizers.step()
        passes.append(middle - started)
        steps.append(_now(device) - middle)
    return min(passes) * section.batch_tokens / (rows * section.sequence_length) + min(steps)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
