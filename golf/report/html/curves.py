"""Curves of one run or several over tokens: each run with its own colour, dashes and mark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from golf.report.html.data import Curve, RunData
from golf.report.html.svg import as_svg, new_figure, plain, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that are seen on white and on black; dashes and marks tell the runs apart where colours do not.
_COLOURS = ("#2f7ed8", "#e07b00", "#1a9e77", "#c8508c", "#8a63d2", "#a0742c", "#4aa3c7")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_MARKS = ("o", "s", "^", "D", "v", "P")
# A line has about this many marks, however many records there are.
_MARKED = 12
_HEIGHT = 290


@dataclass(frozen=True)
class Picture:
    """A drawn figure with its caption."""

    title: str
    svg: str
    caption: str = ""


def run_style(index: int) -> dict[str, Any]:
    """How the curves of the run at `index` are drawn."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _DASHES[index % len(_DASHES)],
        "marker": _MARKS[index % len(_MARKS)],
    }


def label(runs: Sequence[RunData], index: int) -> str:
    """The name of a run in a picture; its number too where there are several, since names can look alike."""
    name = plain(runs[index].name)
    return f"{index + 1} {name}" if len(runs) > 1 else name


def loss_picture(runs: Sequence[RunData]) -> Picture | None:
    """Training and validation loss; None where no run has either."""
    if not any(run.metrics.curves.get(key) for run in runs for key in ("train_loss", "val_loss")):
        return None

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            how = run_style(index)
            training = run.metrics.curves.get("train_loss", [])
            _line(axes, training, how | {"marker": "", "linewidth": 0.9, "alpha": 0.65}, name="training")
            name = "validation" if len(runs) == 1 else label(runs, index)
            _line(axes, run.metrics.curves.get("val_loss", []), how, name=name)
        axes.set_ylabel("loss (nats per token)")

    several = " Thin lines: training; lines with marks: validation." if len(runs) > 1 else ""
    caption = f"Training loss is that of one batch, validation loss of the first train.eval_tokens tokens.{several}"
    return _over_tokens("loss", "Loss", draw, caption, hidden=("training",) if len(runs) > 1 else ())


def bpb_picture(runs: Sequence[RunData]) -> Picture | None:
    """Bits per byte during training, and at its end the float and the packed model's; None where there is nothing."""
    if not any(run.metrics.curves.get("val_bpb") or _last_bpb(run) for run in runs):
        return None
    measured = any(_last_bpb(run) for run in runs)

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            how = run_style(index)
            curve = run.metrics.curves.get("val_bpb", [])
            _line(axes, curve, how, name="during training" if len(runs) == 1 else label(runs, index))
            end = curve[-1][0] if curve else float(run.trained.tokens or 0) if run.trained else 0.0
            for (name, value), mark in zip(_last_bpb(run).items(), ("D", "X"), strict=False):
                # the two often coincide: the float model's mark is open and larger, so that both are seen
                face = {"markerfacecolor": "none", "markersize": 11} if name == "float" else {"markersize": 7}
                axes.plot(
                    [end], [value], color=how["color"], marker=mark, linestyle="", label=f"{name}, measured", **face
                )
        axes.set_ylabel("bits per byte")

    caption = "Measured during training on the first train.eval_tokens validation tokens"
    caption += ", at the end (float: diamond, packed: cross) on verify.tokens of them." if measured else "."
    return _over_tokens("bpb", "Bits per byte", draw, caption)


def simple_picture(
    runs: Sequence[RunData], key: str, *, title: str, unit: str, caption: str = "", thousand: bool = False
) -> Picture | None:
    """One recorded number of each run; None where no run has it, or all of it is 0."""
    if not any(value for run in runs for _, value in run.metrics.curves.get(key, [])):
        return None

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            scale = 1000 if thousand else 1
            curve = [(x, y / scale) for x, y in run.metrics.curves.get(key, [])]
            _line(axes, curve, run_style(index), name=label(runs, index))
        axes.set_ylabel(unit)
        axes.set_ylim(bottom=0)

    return _over_tokens(key, title, draw, caption, legend=len(runs) > 1)


def rank_picture(runs: Sequence[RunData], kind: str, *, title: str) -> Picture | None:
    """One small picture for each role of matrices, all with the same axes; None where no run records it."""
    roles = list(dict.fromkeys(role for run in runs for role in run.metrics.ranks[kind]))
    if not roles:
        return None
    rows = -(-len(roles) // 2)
    with style(kind):
        figure = new_figure(60 + 105 * rows)
        grid = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(roles):
                axes.set_visible(False)
                continue
            for index, run in enumerate(runs):
                _line(axes, run.metrics.ranks[kind].get(roles[place], []), run_style(index), name=label(runs, index))
            axes.set_title(plain(roles[place]), loc="left", pad=3)
            axes.set_ylim(bottom=0)
            _tokens_axis(axes, label=place >= len(roles) - 2)
            axes.tick_params(labelbottom=place >= len(roles) - 2)
        figure.supylabel(f"{title.lower()} (directions)", fontsize=11)
        if len(runs) > 1:
            _legend(figure, grid[0][0])
        return Picture(title, as_svg(figure, kind, title=f"{title} by role over tokens"), _RANKS[kind])


_RANKS = {
    "stable_rank": "Squared Frobenius norm over squared spectral norm; the mean of the matrices of each role.",
    "effective_rank": "Exponential of the entropy of the singular values; the mean of the matrices of each role.",
}


def _last_bpb(run: RunData) -> dict[str, float]:
    """Bits per byte of the finished float model, and of the packed one."""
    claim = run.written.claim if run.written else None
    floats = [run.packed.float_bpb if run.packed else None, run.trained.val_bpb if run.trained else None]
    packed = [run.packed.bpb if run.packed else None, claim.bpb if claim else None]
    found = {"float": [*floats, claim.float_bpb if claim else None], "packed": packed}
    return {name: values[0] for name, all_ in found.items() if (values := [v for v in all_ if v is not None])}


def _over_tokens(
    key: str,
    title: str,
    draw: Callable[[Axes], None],
    caption: str,
    *,
    legend: bool = True,
    hidden: Sequence[str] = (),
) -> Picture:
    """A picture whose horizontal axis is the tokens trained on."""
    with style(key):
        figure = new_figure(_HEIGHT)
        axes = figure.subplots()
        draw(axes)
        _tokens_axis(axes)
        if legend:
            _legend(figure, axes, hidden)
        return Picture(title, as_svg(figure, key, title=f"{title} over tokens"), caption)


def _line(axes: Axes, curve: Curve, how: dict[str, Any], *, name: str) -> None:
    if curve:
        every = max(1, len(curve) // _MARKED)
        axes.plot([x for x, _ in curve], [y for _, y in curve], **how, label=name, markevery=every)


def _tokens_axis(axes: Axes, *, label: bool = True) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if label:
        axes.set_xlabel("tokens")


def _legend(figure: Figure, axes: Axes, hidden: Sequence[str] = ()) -> None:
    """One entry for each name, below the axes, where it covers no curve."""
    handles, names = axes.get_legend_handles_labels()
    shown = {name: handle for handle, name in zip(handles, names, strict=True) if name not in hidden}
    if shown:
        longest = max(map(len, shown))
        columns = max(1, min(3, 66 // (longest + 8)))
        figure.legend(shown.values(), shown.keys(), loc="outside lower left", ncols=columns, labelcolor="linecolor")
