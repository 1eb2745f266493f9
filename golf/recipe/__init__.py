"""The recipe: WHAT is made, as frozen, validated values. Loads in milliseconds, without torch."""

from golf.recipe.load import change_recipe, find_recipe, load_recipe, parse_recipe, recipe_from_dict, recipe_to_toml
from golf.recipe.sections import (
    Budget,
    Data,
    Optimizer,
    Pack,
    RankSchedule,
    RatePenalty,
    Recipe,
    Tokenizer,
    Train,
    Verify,
)
from golf.recipe.shape import Model

__all__ = [
    "Budget",
    "Data",
    "Model",
    "Optimizer",
    "Pack",
    "RankSchedule",
    "RatePenalty",
    "Recipe",
    "Tokenizer",
    "Train",
    "Verify",
    "change_recipe",
    "find_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_from_dict",
    "recipe_to_toml",
]
