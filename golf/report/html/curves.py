"""Curves of one run or several over tokens: each run with its own colour, dashes and mark."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from golf.report.html.svg import as_svg, new_figure, plain, style
from golf.report.run_data import Curve, RunData

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that are seen on white and on black; dashes and marks tell the runs apart where colours do not.
_COLOURS = ("#2f7ed8", "#e07b00", "#1a9e77", "#c8508c", "#8a63d2", "#a0742c", "#4aa3c7")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
_MARKS = ("o", "s", "^", "D", "v", "P")
# A line has about this many marks, however many records there are.
_MARKED = 12
_HEIGHT = 260


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
    hidden = ("float, measured", "packed, measured") if len(runs) > 1 else ()
    return _over_tokens("bpb", "Bits per byte", draw, caption, hidden=hidden)


def size_picture(runs: Sequence[RunData]) -> Picture | None:
    """The file's estimated size, at the cap and where nothing would be lost; None where no run records it."""
    if not any(run.metrics.curves.get("predicted_bytes") for run in runs):
        return None

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            how = run_style(index)
            wanted = _thousands(run.metrics.curves.get("predicted_wanted_bytes", []))
            _line(axes, wanted, how | {"marker": "", "linewidth": 0.9, "alpha": 0.65}, name="for the target gap")
            name = "within the cap" if len(runs) == 1 else label(runs, index)
            _line(axes, _thousands(run.metrics.curves.get("predicted_bytes", [])), how, name=name)
        axes.set_ylabel("file (kB)")
        _from_zero([axes])

    caption = "Estimated from a sample of the weights: the file within the cap"
    caption += " (with marks)" if len(runs) > 1 else ""
    caption += ", and the one that would lose no more than pack.target_gap"
    caption += " (thin)." if len(runs) > 1 else "."
    return _over_tokens(
        "size", "Predicted file", draw, caption, hidden=("for the target gap",) if len(runs) > 1 else ()
    )


def _thousands(curve: Curve) -> Curve:
    return [(x, y / 1000) for x, y in curve]


def simple_picture(runs: Sequence[RunData], key: str, *, title: str, unit: str, caption: str = "") -> Picture | None:
    """One recorded number of each run; None where no run has it, or all of it is 0."""
    if not any(value for run in runs for _, value in run.metrics.curves.get(key, [])):
        return None

    def draw(axes: Axes) -> None:
        for index, run in enumerate(runs):
            _line(axes, run.metrics.curves.get(key, []), run_style(index), name=label(runs, index))
        axes.set_ylabel(unit)
        _from_zero([axes])

    return _over_tokens(key, title, draw, caption, legend=len(runs) > 1)


def rank_picture(runs: Sequence[RunData], kind: str, *, title: str) -> Picture | None:
    """One small picture for each role of matrices, all with the same axes; None where no run records it."""
    roles = list(dict.fromkeys(role for run in runs for role in run.metrics.ranks[kind]))[:_MOST_ROLES]
    if not roles:
        return None
    # the first of an odd number, the embedding, stands alone: then query and key, up and down are beside one another
    places: list[str | None] = [roles[0], None, *roles[1:]] if len(roles) % 2 else list(roles)
    with style(kind):
        figure = new_figure(50 + 46 * len(places))
        grid = figure.subplots(len(places) // 2, 2, sharex=True, sharey=True, squeeze=False)
        for role, axes in zip(places, grid.flat, strict=True):
            if role is None:
                axes.set_visible(False)
                continue
            for index, run in enumerate(runs):
                _line(axes, run.metrics.ranks[kind].get(role, []), run_style(index), name=label(runs, index))
            axes.set_title(plain(role), loc="left", pad=3, fontsize=10)
            _tokens_axis(axes, label=axes in grid[-1], ticks=3)
        _from_zero(axes for axes in grid.flat if axes.get_visible())
        figure.supylabel(f"{title.lower()} (directions)", fontsize=11)
        if len(runs) > 1:
            _legend(figure, grid[0][0])
        return Picture(title, as_svg(figure, kind, title=f"{title} by role over tokens"), _RANKS[kind])


# golf's models have seven; a file that somebody else wrote may name thousands.
_MOST_ROLES = 24
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


def _from_zero(drawn: Iterable[Axes]) -> None:
    """Let the vertical axes, which all have the same scale, begin at 0 and end above the highest value."""
    drawn = list(drawn)
    top = max(axes.dataLim.y1 for axes in drawn)
    drawn[0].set_ylim(0, 1.12 * top if top > 0 else 1)


def _tokens_axis(axes: Axes, *, label: bool = True, ticks: int = 5) -> None:
    """Tokens from 0 on, so that pictures beside one another share their axis."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    axes.yaxis.set_major_locator(MaxNLocator(ticks))
    axes.set_xlim(left=0)
    if label:
        axes.set_xlabel("tokens")


def _legend(figure: Figure, axes: Axes, hidden: Sequence[str] = ()) -> None:
    """One entry for each name, below the axes, where it covers no curve."""
    handles, names = axes.get_legend_handles_labels()
    shown = {name: handle for handle, name in zip(handles, names, strict=True) if name not in hidden}
    if shown:
        longest = max(map(len, shown))
        columns = max(1, min(3, 54 // (longest + 8)))
        figure.legend(shown.values(), shown.keys(), loc="outside lower left", ncols=columns, labelcolor="linecolor")
