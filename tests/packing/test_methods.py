"""Which methods are tried at a byte budget: the table, as a pure function."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.packing.methods import Case, methods, text_share, tuning_tokens
from golf.recipe import Pack

WEIGHTS = 1_000_000


def case(bits, *, tokens=100_000, tokens_trained=20_000_000, text_tokens=10**9, weights=WEIGHTS):
    return Case(weights, math.ceil(bits * weights / 8), tokens, tokens_trained, text_tokens)


PACK = Pack(low_rank="off")


def tried(bits, section=PACK, **given):
    return [method.name for method in methods(section, case(bits, **given)).tried]


def test_tokens_of_fine_tuning_are_a_share_of_the_trainings_within_bounds():
    def tokens(trained, weights=600_000, **given):
        return tuning_tokens(Pack(**given), tokens_trained=trained, weights=weights)

    assert tokens(8_192_000) == 1_024_000
    assert tokens(1_228_800) == tokens(0) == 262_144
    assert tokens(10**9) == 1_200_000
    assert tokens(10**9, weights=10_000) == 262_144
    assert tokens(8_192_000, tune_tokens=0) == 0
    assert tokens(8_192_000, tune_tokens=77) == 77


TUNED, PLAIN, TRELLIS = "uniform + fine-tuning", "uniform", "trellis"


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0.5, [TUNED]),
        (1.1, [TUNED]),
        (1.3, [TUNED, TRELLIS]),
        (2.6, [TUNED, TRELLIS]),
        (2.7, [TRELLIS]),
        (8, [TRELLIS]),
    ],
)
def test_fine_tuning_gains_at_few_bits_and_a_trellis_at_many(bits, expected):
    """A tenth of a token a weight: most = ½ log2 40 = 2.66 bits."""
    assert tried(bits) == expected


def test_more_tokens_a_weight_gain_at_more_bits():
    assert tried(3.0) == [TRELLIS]
    assert tried(3.0, tokens=1_600_000, tokens_trained=10**9) == [TUNED]
    assert tried(3.5, tokens=1_600_000, tokens_trained=10**9) == [TUNED, TRELLIS]
    assert tried(0.9, tokens=10_000) == [TUNED, TRELLIS]
    assert tried(1.1, tokens=10_000) == [TRELLIS, PLAIN]


def test_text_that_still_teaches_is_read_at_any_rate():
    for bits in (0.5, 2.0, 4.0, 1e9):
        assert tried(bits, tokens_trained=1_000_000) == [TUNED]
    assert tried(4.0, tokens_trained=1_000_000, section=Pack(low_rank="off", tune_text=0)) == [TRELLIS]
    assert tried(4.0, tokens=10_000, tokens_trained=50_000) == [TRELLIS]  # too few for so many weights
    assert tried(4.0, tokens_trained=1_000_000, text_tokens=200_000) == [TRELLIS]  # read too often


def test_without_text_both_ways_to_round_are_tried_where_either_may_win():
    assert tried(1.9, tokens=0) == [TRELLIS, PLAIN]
    assert tried(2.0, tokens=0) == [TRELLIS]


@pytest.mark.parametrize("bits", [0.5, 2.0, 5.0])
def test_what_the_recipe_names_is_tried_alone(bits):
    assert tried(bits, Pack(low_rank="off", quantizer="trellis")) == [TRELLIS]
    assert tried(bits, Pack(low_rank="off", quantizer="uniform", tune_tokens=0), tokens=0) == [PLAIN]
    only = [f"{PLAIN}, low rank alone"]  # without a residual there is no trellis
    assert tried(bits, Pack(low_rank="only", quantizer="uniform", tune_tokens=0), tokens=0) == only
    assert tried(bits, Pack(low_rank="only", tune_tokens=0), tokens=0) == only


@pytest.mark.parametrize(("quantizer", "plain"), [("trellis", TRELLIS), ("uniform", PLAIN)])
def test_factors_are_tried_with_the_quantizer_that_the_recipe_names(quantizer, plain):
    section = Pack(low_rank="auto", quantizer=quantizer, tune_tokens=0)
    assert tried(3.0, section, tokens=0) == [plain, f"{plain} + low rank"]
    assert tried(1.0, section, tokens=0) == [plain]
    # a trellis cannot be fine-tuned, whatever text there is
    assert tried(6.0, Pack(quantizer="trellis"), tokens_trained=10**6) == [TRELLIS, f"{TRELLIS} + low rank"]


@given(
    st.floats(0.01, 40), st.sampled_from([0, 64, 10_000, 10**6, 10**8]), st.sampled_from([0, 10**5, 10**9]),
    st.sampled_from(["auto", "uniform", "trellis"]), st.sampled_from(["auto", "off", "only"]),
)  # fmt: skip
def test_something_is_always_tried_and_the_rest_has_its_reason(bits, tokens, trained, quantizer, low_rank):
    section = Pack(quantizer=quantizer, low_rank=low_rank)
    found = methods(section, case(bits, tokens=tokens, tokens_trained=trained))
    assert 1 <= len(found.tried) <= 2
    assert not set(found.tried) & found.skipped.keys()
    assert all(found.skipped.values())
    assert tokens or not any(each.fine_tune for each in found.tried)
    assert quantizer == "auto" or {each.quantizer for each in found.tried} == {quantizer}


def test_text_is_read_four_times_and_then_mends_only_what_rounding_broke():
    fresh = case(1, tokens=100, tokens_trained=300, text_tokens=100)
    worn = case(1, tokens=101, tokens_trained=300, text_tokens=100)
    assert text_share(Pack(tune_text=0.5), fresh) == 0.5
    assert text_share(Pack(tune_text=0.5), worn) == 0.0
