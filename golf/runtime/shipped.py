"""Where the recipes that come with golf lie; found without loading what reads them."""

from __future__ import annotations

from pathlib import Path


def shipped_recipes() -> Path:
    """The folder of the recipes that come with golf: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"
