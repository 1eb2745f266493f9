"""Recipes as a table."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from rich.table import Table

from golf.recipe.catalog import Listed
from golf.report.tables import table

# Characters of a description: two lines at the 100 columns that a pipe or a file gets.
_DESCRIPTION = 80


def recipes_table(recipes: Iterable[Listed], here: Path) -> Table:
    """One row per recipe; own ones by their path as seen from `here`."""
    made = table("recipes", "name", "cap", "layers x width", "steps", "")
    made.columns[-1].justify = "left"
    own = False
    for each in recipes:
        if not each.shipped and not own:
            made.add_section()
        own = not each.shipped
        name = str(each.file.relative_to(here)) if own and each.file.is_relative_to(here) else each.name
        if each.cap is None:
            count = len(each.mistakes)
            mistakes = f"{count:,} mistakes" if count > 1 else "1 mistake"
            made.add_row(name, "", "", "", f"{mistakes}: golf recipe check {name}")
        else:
            described = textwrap.shorten(each.description, _DESCRIPTION, placeholder=" ...")
            made.add_row(name, f"{each.cap:,}", f"{each.layers} x {each.width}", f"{each.steps:,}", described)
    return made
