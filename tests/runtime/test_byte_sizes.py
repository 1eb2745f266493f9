"""Sizes are exact: a cap was missed before by taking 1024 x 1024 for a megabyte."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golf.runtime.byte_sizes import ACCEPTED, parse_size

UNITS = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@given(number=st.integers(1, 10**9), unit=st.sampled_from(sorted(UNITS)), space=st.sampled_from(["", " ", "  "]))
def test_a_whole_number_of_units(number, unit, space):
    assert parse_size(f"{number}{space}{unit}") == number * UNITS[unit]
    assert parse_size(f" {number:_}{space}{unit} ") == number * UNITS[unit]


@given(digits=st.integers(1, 10**6), decimals=st.integers(1, 8), unit=st.sampled_from(sorted(UNITS)))
def test_a_decimal_number_is_exact_or_refused(digits, decimals, unit):
    padded = f"{digits:0{decimals + 1}d}"
    text = f"{padded[:-decimals]}.{padded[-decimals:]}{unit}"
    exact = Fraction(digits, 10**decimals) * UNITS[unit]
    if exact.denominator == 1:
        assert parse_size(text) == exact
    else:
        with pytest.raises(ValueError, match="not a whole, positive number of bytes"):
            parse_size(text)


@given(size=st.integers(1, 2**60))
def test_plain_bytes_in_every_spelling(size):
    assert parse_size(size) == parse_size(str(size)) == parse_size(f"{size:_}") == size
    assert parse_size(f"{size:_}") == size


def test_mega_is_not_mebi():
    assert parse_size("16MiB") - parse_size("16MB") == 777_216


@pytest.mark.parametrize("text", ["0", "0MB", "0.0000001kB", "0.5B", "1.0001kB"])
def test_no_size_is_zero_or_a_part_of_a_byte(text):
    with pytest.raises(ValueError, match="not a whole, positive number of bytes") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("", "MB", "16Mb", "16mB", "16M", "16TB", "16 m b", "16MB 16MB", "sixteen", "nan", "inf", "0x10", "1e6"),
        *("-16MB", "+1", "1,000", "16__000", "_1", "1_", "1.", ".5", "1" * 41, True, False, -1),
    ],
    ids=str,
)
def test_everything_else_is_refused_with_the_accepted_forms(text):
    with pytest.raises(ValueError, match="no size; write") as caught:
        parse_size(text)
    assert ACCEPTED in str(caught.value)


def test_a_long_text_is_not_repeated_whole():
    with pytest.raises(ValueError, match="no size") as caught:
        parse_size("9" * 100_000)
    assert len(str(caught.value)) < 250
