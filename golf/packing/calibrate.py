"""Calibration: estimate each matrix's Fisher information on training text, and scale the matrix by its steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

from golf.compress.encode_matrix import CalibratedMatrix, calibrate_matrix
from golf.compress.fisher import Fisher, estimate_fisher
from golf.model import Transformer
from golf.packing.encoder import as_weights
from golf.packing.text_windows import TextWindows
from golf.packing.time_budget import TimeBudget
from golf.recipe import Pack
from golf.runtime.observer import Observer
from golf.runtime.parallel import parallel_map


def calibrate(
    model: Transformer,
    section: Pack,
    windows: TextWindows,
    time_budget: TimeBudget,
    *,
    tokens: int,
    observer: Observer,
) -> list[CalibratedMatrix]:
    """Every matrix scaled by the steps that follow from its Fisher information, on `tokens` tokens of training text."""
    widest = max(p.shape[1] for p in model.parameters() if p.ndim == 2)
    if tokens < widest:
        observer.note(
            f"pack.calibration_tokens = {tokens:,} is less than the {widest:,} inputs of the widest matrix; "
            "damping stands in for what the text does not show"
        )
    with time_budget.using("calibration"):
        text = time_budget.in_time(windows.calibration(tokens), "calibration")
        found = fisher(model, section, text, seed=windows.seed)
    return scaled_matrices(model, found, observer)


def fisher(model: Transformer, section: Pack, text: Iterable[Tensor], *, seed: int) -> dict[str, Fisher]:
    """The Fisher information of each matrix by name, on batches of windows (B, T+1) int64."""
    return estimate_fisher(model, text, seed=seed, row_smoothing=section.row_smoothing, damping=section.damping)


def scaled_matrices(model: Transformer, found: dict[str, Fisher], observer: Observer) -> list[CalibratedMatrix]:
    """Every matrix scaled by the steps that follow from its Fisher information."""
    matrices = [(name, p) for name, p in model.named_parameters() if p.ndim == 2]

    def watched() -> Iterator[tuple[str, Tensor]]:
        for index, (name, parameter) in enumerate(matrices):
            observer.check()
            observer.stage(f"scale {name}", index / len(matrices))
            yield name, parameter

    def scaled(matrix: tuple[str, Tensor]) -> CalibratedMatrix:
        name, parameter = matrix
        return calibrate_matrix(name, as_weights(parameter), found[name])

    return list(parallel_map(scaled, watched()))
