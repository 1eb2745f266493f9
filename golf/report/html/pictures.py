"""Pictures of one artifact: bits per weight of each matrix, and bytes as a treemap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from golf.artifact.ledger import Ledger, MatrixEntry
from golf.report.html.curves import Picture
from golf.report.html.svg import WIDTH, as_svg, new_figure, plain, style
from golf.report.html.treemap import Rectangle, squarify

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Fills of the treemap's groups; white text is read on each.
_FILLS = ("#2b6cb0", "#b45309", "#157f5f", "#a33a72", "#6b4fbb", "#7d5a1e", "#2a7d99", "#8c3b3b")
_OTHERS = "#5f6672"
_TREE_HEIGHT = 300
# Widths of a letter and of a line, in units of the font's size.
_LETTER, _LINE = 0.6, 1.25


def layer_and_role(name: str) -> tuple[int | None, str]:
    """`blocks.3.mlp.up.weight` is layer 3 and `mlp.up`; a matrix outside the blocks has no layer."""
    parts = name.removesuffix(".weight").split(".")
    if len(parts) > 2 and parts[0] == "blocks" and parts[1].isdecimal() and len(parts[1]) < 5:
        return int(parts[1]), ".".join(parts[2:])
    return None, ".".join(parts)


def bits_picture(ledger: Ledger, key: str, bounds: tuple[float, float]) -> Picture | None:
    """The model as rows of layers and columns of roles, each matrix in the colour of its bits per weight.

    Matrices outside the layers take a whole row. `bounds` are the least and the most bits, the ends of the colours.
    """
    if not ledger.matrices:
        return None
    places = [(layer_and_role(entry.name), entry) for entry in ledger.matrices]
    roles = list(dict.fromkeys(role for (layer, role), _ in places if layer is not None)) or [""]
    rows = list(dict.fromkeys(plain(role, 14) if layer is None else f"layer {layer}" for (layer, role), _ in places))
    with style(key):
        figure = new_figure(86 + 24 * len(rows))
        axes = figure.subplots()
        for (layer, role), entry in places:
            row = rows.index(plain(role, 14) if layer is None else f"layer {layer}")
            left, width = (0, len(roles)) if layer is None else (roles.index(role), 1)
            _cell(axes, Rectangle(left, row, width, 1), entry, bounds)
        axes.set(xlim=(0, len(roles)), ylim=(len(rows), 0))
        axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
        names = [plain(role, 24).replace(".", "\n", 1) for role in roles]
        axes.set_xticks([column + 0.5 for column in range(len(roles))], names, fontsize=9)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        svg = as_svg(figure, key, title="Bits per weight of each matrix")
    return Picture("", svg, "Bits per weight of every matrix; darker is more.")


def _cell(axes: Axes, place: Rectangle, entry: MatrixEntry, bounds: tuple[float, float]) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle as Patch

    low, high = bounds
    share = (entry.bits_per_weight - low) / (high - low) if high > low else 0.5
    colour = colormaps["Blues"](0.15 + 0.75 * share)
    gap = 0.04
    axes.add_patch(
        Patch((place.x + gap, place.y + gap), place.width - 2 * gap, place.height - 2 * gap, facecolor=colour, lw=0)
    )
    axes.text(
        place.x + place.width / 2,
        place.y + place.height / 2,
        f"{entry.bits_per_weight:.2f}",
        ha="center",
        va="center",
        color="white" if share > 0.5 else "#0b1a2b",
        fontsize=10,
    )


def bytes_picture(ledger: Ledger, key: str) -> Picture | None:
    """Every byte of the artifact as area: matrices by role, then what else the file holds."""
    groups = _groups(ledger)
    if not groups:
        return None
    with style(key):
        figure = new_figure(_TREE_HEIGHT, None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(_TREE_HEIGHT, 0))
        axes.set_axis_off()
        whole = Rectangle(0, 0, WIDTH, _TREE_HEIGHT)
        areas = squarify([sum(size for _, size in items) for items in groups.values()], whole)
        for index, (area, (name, items)) in enumerate(zip(areas, groups.items(), strict=True)):
            colour = _OTHERS if name == _REST else _FILLS[index % len(_FILLS)]
            for place, (item, size) in zip(squarify([size for _, size in items], area), items, strict=True):
                _tile(axes, place, item, size, colour)
        svg = as_svg(figure, key, title="Bytes of the artifact by part")
    caption = f"All {ledger.total:,} bytes of the file as area; matrices of one role share a colour, "
    return Picture("", svg, caption + "grey is what is no matrix. Parts too small for a name are in the table.")


_REST = ""


def _groups(ledger: Ledger) -> dict[str, list[tuple[str, int]]]:
    """Bytes by role and matrix; under "" the parts of the file that belong to no matrix."""
    groups: dict[str, list[tuple[str, int]]] = {}
    of_matrices: dict[str, int] = {}
    for entry in ledger.matrices:
        layer, role = layer_and_role(entry.name)
        if entry.bytes:
            name = plain(role if layer is None else f"{role} {layer}")
            groups.setdefault(role or "?", []).append((name, entry.bytes))
        for part, size in entry.parts.items():
            of_matrices[part] = of_matrices.get(part, 0) + size
    others = [(plain(part), size - of_matrices.get(part, 0)) for part, size in ledger.parts.items()]
    if rest := [(part, size) for part, size in others if size > 0]:
        groups[_REST] = rest
    return groups


def _tile(axes: Axes, place: Rectangle, name: str, size: int, colour: str) -> None:
    from matplotlib.patches import Rectangle as Patch

    gap = min(0.75, place.width / 8, place.height / 8)
    axes.add_patch(
        Patch((place.x + gap, place.y + gap), place.width - 2 * gap, place.height - 2 * gap, facecolor=colour, lw=0)
    )
    for label, font in (
        (name, 10),
        (name, 8.5),
        (_last_word(name), 10),
        (_last_word(name), 8.5),
        (_last_word(name), 7),
    ):
        if lines := _fitting([label, f"{size:,}"], place, font):
            axes.text(
                place.x + 4,
                place.y + 4,
                "\n".join(lines),
                ha="left",
                va="top",
                color="white",
                fontsize=font,
                clip_on=True,
            )
            return


def _last_word(name: str) -> str:
    """`attention.query 3` is `query 3` where room is short."""
    return name.rpartition(".")[2]


def _fitting(lines: Sequence[str], place: Rectangle, font: float) -> list[str]:
    """The lines of a label that have room: name and bytes, the name alone, or none."""
    if max(map(len, lines[:1])) * font * _LETTER > place.width - 6:
        return []
    fit = [line for line in lines if len(line) * font * _LETTER <= place.width - 6]
    return fit[: int((place.height - 6) / (font * _LINE))]
