"""NuMuon's step beside torch.optim.Muon's on the same matrices, in one run: time, memory, quality of the directions.

    python -m bench.optimizer_step [--out FILE] [--threads 2] [--device cpu] [--recipe baseline-16mb]

Steps of all optimizers take turns, so that a busy machine disturbs all alike; times are medians, with the quartiles of
the ratios of turns. Gradients drift as a momentum's do. `directions` compares the step's O with the momentum M: its
inner product with M over the Ky Fan norm (what an SVD would reach), and the extremes of its k singular values. It has
no bar: what a step costs depends on how cheap the machine makes a product.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.records import add_out_option, append, circumstances
from golf.model import parameter_shapes
from golf.optim import NuMuon, rank_of
from golf.recipe import load_recipe
from tests.peak_memory import peak_of

SHAPES = ((512, 512), (1024, 1024), (2048, 512), (3072, 1024))
FRACTION = 0.25


def contenders(shapes: list[tuple[int, ...]], device: str) -> dict[str, torch.optim.Optimizer]:
    """Optimizers with parameters of their own and equal gradients."""

    def fresh() -> list[torch.nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        return [torch.nn.Parameter(torch.randn(*shape, generator=generator).to(device)) for shape in shapes]

    return {
        "torch Muon": torch.optim.Muon(fresh()),
        "NuMuon": NuMuon(fresh(), rank_fraction=FRACTION),
        "NuMuon float32": NuMuon(fresh(), rank_fraction=FRACTION, dtype=torch.float32),
        "NuMuon r=.5": NuMuon(fresh(), rank_fraction=0.5),
        "NuMuon r=1": NuMuon(fresh(), rank_fraction=1.0),
    }


def measure_times(shapes: list[tuple[int, ...]], *, device: str, turns: int) -> list[dict[str, Any]]:
    """Rows of {optimizer, ms, over_muon, quartiles}: every optimizer's step once a turn."""
    rivals = contenders(shapes, device)
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(turns + 3):
        for name, optimizer in rivals.items():
            _give_gradients(optimizer, turn)
            _wait(device)
            started = time.perf_counter()
            optimizer.step()
            _wait(device)
            if turn >= 3:  # bases and buffers are made in the first steps
                times[name].append(time.perf_counter() - started)
    muon = times["torch Muon"]
    rows = []
    for name, own in times.items():
        ratios = sorted(a / b for a, b in zip(own, muon, strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {"optimizer": name, "ms": 1e3 * statistics.median(own), "over_muon": middle, "quartiles": [low, high]}
        )
    return rows


def measure_memory(shapes: list[tuple[int, ...]], *, device: str) -> dict[str, int]:
    """Bytes that a settled step holds at its peak beyond weights, gradients and state."""
    found = {}
    for name, optimizer in contenders(shapes, device).items():
        for turn in range(2):
            _give_gradients(optimizer, turn)
            optimizer.step()
        found[name] = peak_of(optimizer.step, device)
    return found


def measure_directions(shape: tuple[int, int], *, dtype: torch.dtype, steps: int = 10) -> dict[str, float]:
    """Quality of the update after `steps` of a drifting momentum with a falling spectrum."""
    generator = torch.Generator().manual_seed(1)
    u, _, vh = torch.linalg.svd(torch.randn(*shape, generator=generator), full_matrices=False)
    signal = (u * torch.arange(1, min(shape) + 1) ** -0.7) @ vh
    weight = torch.nn.Parameter(torch.zeros(*shape))
    optimizer = NuMuon([weight], lr=1.0, weight_decay=0.0, rank_fraction=FRACTION, dtype=dtype)
    noise = signal.norm() / signal.numel() ** 0.5
    for _ in range(steps):
        signal = signal + 0.05 * noise * torch.randn(*shape, generator=generator)
        weight.grad = signal + 0.5 * noise * torch.randn(*shape, generator=generator)
        before = weight.detach().clone()
        optimizer.step()
    momentum: Tensor = optimizer.state[weight]["momentum_buffer"]
    step = (before - weight.detach()) / max(1.0, shape[0] / shape[1]) ** 0.5
    k = rank_of(FRACTION, smaller_side=min(shape))
    values = torch.linalg.svdvals(step)
    reached = (step * momentum).sum() / torch.linalg.svdvals(momentum)[:k].sum()
    return {"of_ky_fan": float(reached), "least": float(values[k - 1]), "greatest": float(values[0])}


def model_shapes(recipe: str) -> list[tuple[int, ...]]:
    """The matrices of a recipe's model that the matrix optimizer moves."""
    section = load_recipe(Path("recipes") / f"{recipe}.toml")
    named = parameter_shapes(section.model, section.tokenizer.vocab_size)
    return [shape for name, shape in named if len(shape) == 2 and not name.startswith("embedding")]


def _give_gradients(optimizer: torch.optim.Optimizer, turn: int) -> None:
    """A gradient that keeps four fifths of the one before."""
    for group in optimizer.param_groups:
        for index, parameter in enumerate(group["params"]):
            generator = torch.Generator().manual_seed(1000 * turn + index)
            fresh = torch.randn(parameter.shape, generator=generator).to(parameter.device)
            parameter.grad = fresh if parameter.grad is None else torch.lerp(fresh, parameter.grad, 0.8)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _show(title: str, rows: list[dict[str, Any]]) -> None:
    print(title)
    for row in rows:
        low, high = row["quartiles"]
        print(f"  {row['optimizer']:16} {row['ms']:9.2f} ms  {row['over_muon']:.2f}x Muon ({low:.2f}-{high:.2f})")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_out_option(parser, None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--recipe", default="baseline-16mb")
    parser.add_argument("--turns", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    document: dict[str, Any] = {"threads": arguments.threads, "device": device}
    work: dict[str, list[tuple[int, ...]]] = {f"{m}x{n}": [(m, n)] for m, n in SHAPES}
    work[arguments.recipe] = model_shapes(arguments.recipe)
    for title, shapes in work.items():
        rows = measure_times(shapes, device=device, turns=arguments.turns)
        memory = measure_memory(shapes, device=device)
        _show(title, rows)
        print("  peak beyond state, MB: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in memory.items()))
        document[title] = {"times": rows, "peak_bytes": memory}
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            quality = measure_directions(shape, dtype=dtype)
            print(f"directions {shape} {dtype}: " + ", ".join(f"{k} {v:.4f}" for k, v in quality.items()))
            document[f"directions {shape[0]}x{shape[1]} {dtype}"] = quality
    if arguments.out:
        append(arguments.out, {"script": "optimizer_step"} | circumstances() | document)


if __name__ == "__main__":
    main()
