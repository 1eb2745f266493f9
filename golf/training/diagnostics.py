"""Diagnostics of a training: validation loss, spectra of its matrices, and the predicted size of its pack."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from golf.compress.fisher import estimate_fisher
from golf.compress.size_estimate import SizeEstimate, estimate_size
from golf.data import Batches
from golf.errors import Diverged
from golf.evaluation.loss import Score, measure_loss
from golf.model import Transformer, role
from golf.optim.schedules import rank_of
from golf.optim.spectral import effective_rank, energy_share, singular_values, stable_rank
from golf.training.penalty_strength import bytes_besides_matrices
from golf.training.state import TrainingState

# Sequences of each predicted size during training: the error from so few is below that of the entropy estimate. Batches
# run in parallel threads; more than two batches cost more than a third thread gains.
_ESTIMATE_WINDOWS = 8
_ESTIMATE_BATCHES = 2


def diagnose(state: TrainingState, before: dict[str, Tensor]) -> tuple[dict[str, Any], SizeEstimate]:
    """Validation loss, spectra by matrix and by role, and predicted packed size; of the average where there is one.

    Spectra are those of the weights; `before` holds the matrices before the last step. Raises Diverged.
    """
    state.check_weights()
    spectra = matrix_figures(state.model, before, share=state.recipe.optimizer.rank.end)
    with state.averaged():
        score = score_model(state, state.recipe.train.eval_tokens)
        if not np.isfinite(score.loss):
            raise Diverged(f"step {state.step}: the validation loss is not finite; {state.kept()}")
        prediction = predict_size(state)
    record = {"val_loss": score.loss, "val_bpb": score.bpb, **_by_role(spectra), "matrices": spectra}
    record |= {f"predicted_{key}": value for key, value in dataclasses.asdict(prediction).items()}
    return record, prediction


def score_model(state: TrainingState, tokens: int, stop: Callable[[], None] | None = None) -> Score:
    """Score on the first `tokens` validation tokens."""
    # one more token than targets, so that a power of two of them are scored
    scored = state.data.val.slice(0, min(tokens + 1, len(state.data.val)))
    return measure_loss(
        state.model,
        scored,
        state.data.tokenizer.byte_counts(scored),
        sequence_length=state.recipe.train.sequence_length,
        device=state.device,
        stop=stop,
    )


def predict_size(state: TrainingState) -> SizeEstimate:
    """The estimated size of a pack of the present weights at the recipe's cap."""
    recipe, T = state.recipe, state.recipe.train.sequence_length
    tokens = _ESTIMATE_WINDOWS // _ESTIMATE_BATCHES * T
    windows = Batches(state.data.train, batch_tokens=tokens, sequence_length=T, seed=recipe.seed + 1)
    fishers = estimate_fisher(
        state.model,
        (torch.from_numpy(windows.batch(index)).to(state.device) for index in range(_ESTIMATE_BATCHES)),
        seed=recipe.seed,
        row_smoothing=recipe.pack.row_smoothing,
        damping=recipe.pack.damping,
    )
    return estimate_size(
        {n: p.detach().float().cpu().numpy() for n, p in state.model.named_parameters() if p.ndim == 2},
        fishers,
        other_bytes=bytes_besides_matrices(state.model, state.data.tokenizer),
        byte_budget=recipe.budget.cap - recipe.budget.code_bytes,
        target_gap=recipe.pack.target_gap,
        trellis=recipe.pack.quantizer != "uniform",
    )


def matrices_of(model: Transformer) -> dict[str, Tensor]:
    """Copies of every matrix by name, from which `matrix_figures` computes the update."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.ndim == 2}


def matrix_figures(model: Transformer, before: dict[str, Tensor], *, share: float) -> dict[str, dict[str, float]]:
    """Stable and effective rank, energy in the top `share` of the directions, and ‖last update‖ / ‖weight‖ (Frobenius).

    Every matrix of `model`; an update is left out for matrices that are not in `before`.
    """
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim != 2:
            continue
        weight = parameter.detach()
        values = singular_values(weight)
        top = rank_of(share, smaller_side=min(weight.shape))
        found[name] = {
            "stable_rank": round(stable_rank(values), 2),
            "effective_rank": round(effective_rank(values), 2),
            "top_energy": round(energy_share(values, top), 4),
        }
        if name in before:
            update = float((weight - before[name]).norm() / weight.norm().clamp_min(1e-30))
            found[name]["update_ratio"] = float(f"{update:.3g}")
    return found


def _by_role(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean stable and effective rank of each matrix role."""
    roles: dict[str, list[dict[str, float]]] = {}
    for name, each in figures.items():
        roles.setdefault(role(name), []).append(each)
    return {
        key: {kind: round(float(np.mean([each[key] for each in those])), 2) for kind, those in roles.items()}
        for key in ("stable_rank", "effective_rank")
    }
