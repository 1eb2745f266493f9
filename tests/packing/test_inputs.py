"""What a pack reads, and what it says of it."""

from pathlib import Path

import pytest

from golf.packing.inputs import trained_for_another_cap
from golf.recipe import change_recipe, load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "quickstart.toml"


@pytest.mark.parametrize(
    ("trained", "packed", "told"),
    [
        ("budget.cap=200000", "budget.cap=97000", True),
        ("budget.cap=97000", "budget.cap=200000", True),
        ("budget.cap=200000", "budget.cap=200000", False),
        ("budget.cap=200000", "budget.code_bytes=9000", False),
        ("optimizer.rate_penalty.strength=0.01", "budget.cap=97000", False),
        ("optimizer.rate_penalty.kind=none", "budget.cap=97000", False),
    ],
)
def test_a_pack_for_another_cap_than_the_trainings_says_so(trained, packed, told):
    before = load_recipe(RECIPE, [trained])
    sentence = trained_for_another_cap(before, change_recipe(before, [packed], sections=("budget",), source="test"))
    assert (sentence is not None) == told
    if told:
        assert "budget.cap=" + packed.partition("=")[2] in sentence
