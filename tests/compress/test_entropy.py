import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from golf.compress.entropy import decode, encode, ideal_bits
from golf.errors import DamagedFile


def gaussian(deviation, count, seed=0):
    return np.rint(np.random.default_rng(seed).normal(size=count) * deviation).astype(np.int32)


def there_and_back(symbols, coder="best"):
    codec, size, payload = encode(symbols, coder=coder)
    return decode(codec, payload, count=symbols.size, decoded_size=size, part="x")


@settings(max_examples=60)
@given(arrays(np.int32, st.integers(1, 300)), st.sampled_from(["best", "zstd"]))
def test_any_symbols_come_back(symbols, coder):
    assert np.array_equal(there_and_back(symbols, coder), symbols)


@settings(max_examples=30)
@given(st.floats(0.01, 300), st.integers(1, 9000), st.integers(0, 10**6))
def test_gaussian_symbols_come_back(deviation, count, seed):
    symbols = gaussian(deviation, count, seed)
    assert np.array_equal(there_and_back(symbols), symbols)


@pytest.mark.parametrize("extreme", [0, 1, -1, 127, -128, 2**15, 2**31 - 1, -(2**31)])
def test_constant_symbols_come_back(extreme):
    symbols = np.full(5000, extreme, dtype=np.int32)
    assert np.array_equal(there_and_back(symbols), symbols)
    assert len(encode(symbols)[2]) < 100


@pytest.mark.parametrize("deviation", [0.5, 1.0, 3.0, 10.0])
def test_the_coder_stays_near_the_order_0_entropy(deviation):
    symbols = gaussian(deviation, 1 << 18)
    _, _, payload = encode(symbols)
    # the histogram and its rounding cost under .5 %
    assert ideal_bits(symbols) <= len(payload) * 8 <= ideal_bits(symbols) * 1.005


def test_entropy_of_known_distributions():
    assert ideal_bits(np.array([0, 1, 2, 3], dtype=np.int32)) == pytest.approx(8)
    assert ideal_bits(np.zeros(9, dtype=np.int32)) == 0
    assert ideal_bits(np.empty(0, dtype=np.int32)) == 0
    assert ideal_bits(np.array([0, 2**31 - 1, -(2**31), 0], dtype=np.int64).astype(np.int32)) == pytest.approx(6)


def test_zstd_alone_can_be_demanded():
    assert encode(gaussian(2, 50_000), coder="zstd")[0] == "zstd"
    assert encode(gaussian(2, 50_000))[0] == "ans"


def test_the_same_symbols_give_the_same_bytes():
    assert encode(gaussian(2, 50_000)) == encode(gaussian(2, 50_000))


@pytest.mark.parametrize("seed", range(300))
def test_damaged_payloads_are_refused_or_decode_to_the_declared_count(seed):
    """A forger can sign anything: whatever the bytes, no other exception and no other size may come out."""
    symbols = gaussian(2, 6000)
    codec, size, payload = encode(symbols)
    rng = np.random.default_rng(seed)
    forged = bytearray(payload)
    for _ in range(rng.integers(1, 5)):
        forged[rng.integers(min(len(forged), 80))] = rng.integers(256)
    if seed % 3 == 0:
        forged = forged[: rng.integers(len(forged))]
    try:
        decoded = decode(codec, bytes(forged), count=symbols.size, decoded_size=size, part="section x")
    except DamagedFile as error:
        assert error.part == "section x"  # noqa: PT017
    else:
        assert decoded.shape == symbols.shape


@pytest.mark.parametrize(
    ("codec", "count", "size"), [("ans", 10, 41), ("zstd", 10, 30), ("raw", 10, 40), ("zstd", 0, 5)]
)
def test_declarations_that_cannot_be_are_refused(codec, count, size):
    with pytest.raises(DamagedFile):
        decode(codec, b"\0" * 64, count=count, decoded_size=size, part="x")
