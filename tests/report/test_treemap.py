"""A treemap's rectangles tile the whole."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.report.html.treemap import Rectangle, squarify

SIZES = st.lists(st.integers(1, 10**7), min_size=1, max_size=24)


@given(SIZES, st.sampled_from([Rectangle(0, 0, 1, 1), Rectangle(3, -2, 7, 0.5), Rectangle(0, 5, 0.25, 9)]))
def test_areas_are_in_proportion_and_nothing_overlaps(sizes, whole):
    made = squarify(sizes, whole)
    for size, place in zip(sizes, made, strict=True):
        assert place.area == pytest.approx(whole.area * size / sum(sizes), rel=1e-6)
    assert sum(place.area for place in made) == pytest.approx(whole.area, rel=1e-9)
    for place in made:
        assert place.x >= whole.x - 1e-9 and place.x + place.width <= whole.x + whole.width + 1e-9
        assert place.y >= whole.y - 1e-9 and place.y + place.height <= whole.y + whole.height + 1e-9
    # with the areas adding up, rectangles that do not overlap leave no gap
    for one, other in combinations(made, 2):
        across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
        down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
        assert across < 1e-9 or down < 1e-9


def test_the_example_of_the_paper():
    """Bruls, Huizing, van Wijk: 6, 6, 4, 3, 2, 2, 1 in 6 x 4."""
    made = squarify([6, 6, 4, 3, 2, 2, 1], Rectangle(0, 0, 6, 4))
    ratios = [max(p.width / p.height, p.height / p.width) for p in made]
    assert (made[0].width, made[0].height) == (3, 2) and (made[1].x, made[1].y) == (0, 2)
    assert max(ratios) < 2.8


def test_sizes_far_apart_give_finite_rectangles():
    for place in squarify([10**30, 10**30, 1, 1, 1]):
        assert all(map(math.isfinite, (place.x, place.y, place.width, place.height)))


def test_nothing_gives_nothing():
    assert squarify([]) == []
