"""Loss gap against bits a weight: one panel a training, one line a seed and method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.records import Record


def family(name: str) -> str:
    """The checkpoint's name without its seed."""
    return name.rstrip("0123456789").rstrip("-")


def plot(rows: list[Record], path: Path) -> None:
    """Draw the rows of experiments.packers; seeds of one training share a panel."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = sorted({family(row["checkpoint"]) for row in rows})
    across = 2 if len(names) in (2, 4) else min(3, len(names))
    down = -(-len(names) // across)
    size = (4.5 * across, 3.8 * down)
    figure, panels = plt.subplots(
        down, across, figsize=size, squeeze=False, sharex=True, sharey=True, layout="constrained"
    )
    methods = sorted({_method(row) for row in rows} - {"limit"})
    colours = {method: f"C{index}" for index, method in enumerate(methods)} | {"limit": "k"}
    for name, panel in zip(names, panels.flat, strict=False):
        own = [row for row in rows if family(row["checkpoint"]) == name and row["gap"] > 0]
        for method, colour in colours.items():
            _lines(panel, [row for row in own if _method(row) == method], method, colour)
        panel.set(title=name, yscale="log", xlim=(0, 6), ylim=(1e-4, 4))
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(names) :]:
        panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("bits per weight, whole file")
    for panel in panels[:, 0]:
        panel.set_ylabel("loss gap to float, nats per token")
    figure.legend(*_labels(panels.flat), loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=110)


def _method(row: Record) -> str:
    return str(row["method"].split(" (")[0])


def _lines(panel: Any, rows: list[Record], method: str, colour: str) -> None:
    """One line for each seed of a method; the first bears the label."""
    for index, seed in enumerate(sorted({row["checkpoint"] for row in rows})):
        points = sorted((r["bits_per_weight"], r["gap"]) for r in rows if r["checkpoint"] == seed)
        style = ":" if method == "limit" else "o-"
        label = method if index == 0 else None
        panel.plot(*zip(*points, strict=True), style, label=label, color=colour, markersize=2.5, linewidth=0.8)


def _labels(panels: Any) -> tuple[list[Any], list[str]]:
    """Each method's line and label once, from all panels."""
    found: dict[str, Any] = {}
    for panel in panels:
        for line, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, line)
    return list(found.values()), list(found)
