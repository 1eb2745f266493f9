"""The rate penalty's automatic strength follows from the cap."""

from __future__ import annotations

import pytest

from golf.data.tokenizer import ByteTokenizer
from golf.model import Transformer
from golf.optim import Optimizers
from golf.optim.rate_penalty import automatic_strength
from golf.recipe import Recipe
from golf.training.penalty_strength import with_strength

TOKENIZER = ByteTokenizer()


def strength(cap, *, name="numuon", given="auto", code_bytes=0, **model):
    recipe = Recipe.model_validate(
        {
            "name": "priced",
            "budget": {"cap": cap, "code_bytes": code_bytes},
            "tokenizer": {"kind": "bytes"},
            "model": {"layers": 2, "width": 64, "heads": 2, "kv_heads": 1} | model,
            "optimizer": {"name": name, "rate_penalty": {"kind": "l1", "strength": given}},
        }
    )
    model = Transformer(recipe.model, TOKENIZER.vocab_size)
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    return with_strength(recipe, model, TOKENIZER).rate_penalty.strength, weights


def test_it_falls_with_each_bit_a_weight():
    fine, weights = strength(60_000)
    coarse, _ = strength(60_000 - weights // 8)
    assert coarse == pytest.approx(2**1.3 * fine, rel=1e-3)


def test_it_is_the_best_of_fixed_strengths_where_they_were_compared():
    assert automatic_strength(1.28, optimizer="muon", width=128) == pytest.approx(0.018, rel=0.03)
    assert automatic_strength(2.67, optimizer="numuon", width=128) == pytest.approx(0.005, rel=0.03)


def test_code_takes_its_bytes_from_the_weights():
    assert strength(60_000, code_bytes=10_000) == strength(50_000)


def test_a_cap_below_everything_else_has_the_price_of_no_bits():
    assert strength(100)[0] == automatic_strength(0, optimizer="numuon", width=64)


def test_it_is_in_units_of_an_update():
    assert automatic_strength(1, optimizer="muon", width=64) == 2 * automatic_strength(1, optimizer="numuon", width=256)
    assert automatic_strength(1, optimizer="adamw", width=64) == automatic_strength(1, optimizer="adamw", width=256)


def test_a_number_is_left_alone():
    assert strength(60_000, given=0.125)[0] == 0.125


def test_optimizers_need_the_number():
    recipe = Recipe.model_validate({"name": "x", "optimizer": {"rate_penalty": {"kind": "l1"}}})
    optimizers = Optimizers(recipe.optimizer, Transformer(recipe.model, TOKENIZER.vocab_size))
    with pytest.raises(ValueError, match="set from the cap"):
        optimizers.schedule(1.0, 0, 4)
