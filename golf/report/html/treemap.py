"""Squarified treemap (Bruls, Huizing, van Wijk, 2000): sizes become rectangles that tile another, near squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """A corner, and the lengths of the sides."""

    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Width times height."""
        return self.width * self.height


def squarify(sizes: Sequence[float], whole: Rectangle = Rectangle(0, 0, 1, 1)) -> list[Rectangle]:
    """Rectangles that tile `whole`, their areas in proportion to `sizes`, in the order of `sizes`.

    Sizes are positive. The larger ones come first from the corner (x, y): every row or column takes sizes as long as
    that brings its worst ratio of sides nearer to 1.
    """
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    made: dict[int, Rectangle] = {}
    rest = whole
    while order:
        left = sum(sizes[index] for index in order)
        row = _row([sizes[index] for index in order], rest, left)
        taken, order = order[:row], order[row:]
        # the last row takes what is left, so that rounding leaves no gap
        strip, rest = _cut(rest, sum(sizes[index] for index in taken) / left if order else 1.0)
        made |= zip(taken, _slices(strip, rest, [sizes[index] for index in taken]), strict=True)
    return [made[index] for index in range(len(sizes))]


def _row(sizes: list[float], rest: Rectangle, left: float) -> int:
    """How many of the next sizes, falling, share one strip along the shorter side."""
    if not rest.area:  # what is left is too small for float numbers
        return len(sizes)
    side = min(rest.width, rest.height)
    scale = rest.area / left
    best, total = float("inf"), 0.0
    for count, size in enumerate(sizes, 1):
        total += size
        thickness = total * scale / side
        lengths = (sizes[0] * scale / thickness, size * scale / thickness)
        worst = max(max(length / thickness, thickness / length) for length in lengths)
        if worst > best:
            return count - 1
        best = worst
    return len(sizes)


def _cut(whole: Rectangle, share: float) -> tuple[Rectangle, Rectangle]:
    """A strip with this share of the area along the shorter side, and what is left."""
    x, y, width, height = whole.x, whole.y, whole.width, whole.height
    if width >= height:
        cut = width * share
        return Rectangle(x, y, cut, height), Rectangle(x + cut, y, width - cut, height)
    cut = height * share
    return Rectangle(x, y, width, cut), Rectangle(x, y + cut, width, height - cut)


def _slices(strip: Rectangle, rest: Rectangle, sizes: list[float]) -> list[Rectangle]:
    """The strip, cut across in proportion to the sizes."""
    made, total, before = [], sum(sizes), 0.0
    across = rest.y == strip.y  # the rest lies beside the strip, not below it
    for size in sizes:
        start, length = before / total, size / total
        if across:
            made.append(Rectangle(strip.x, strip.y + start * strip.height, strip.width, length * strip.height))
        else:
            made.append(Rectangle(strip.x + start * strip.width, strip.y, length * strip.width, strip.height))
        before += size
    return made
