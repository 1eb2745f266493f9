"""A text is restored from what its tokens decode to, and that costs little where little was changed."""

import unicodedata
from itertools import pairwise

import numpy as np
import pytest

from golf.evaluation.restore import edit_script, find_edits, restore, restoring_bits

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "then", "it", "sleeps", "until", "noon"]
ENDS = [" "] * 16 + ["\n"]
TEXT = "".join(WORDS[i * i % 14] + "." * (i % 9 == 0) + ENDS[i % 17] for i in range(4000))


def restored(*pairs):
    script = edit_script(pairs)
    decoded, original = (b"".join(part) for part in zip(*pairs, strict=True))
    assert restore(decoded, script) == original
    return len(script)


@pytest.mark.parametrize(
    ("decoded", "original"),
    [
        (b"", b""),
        (b"", b"abc"),
        (b"abc", b""),
        (b"abc", b"abc"),
        (b"a" * 1000, bytes(range(256)) * 4),
        (b"ab" * 500, b"ba" * 500),
        (b"a" * 3000, b"a" * 2000 + b"b" + b"a" * 999),
        (TEXT.encode(), TEXT[::-1].encode()),
        (TEXT.replace("fox", "").encode(), TEXT.encode()),
        ("ö".encode() * 50, ("ö" * 49 + "o\u0308").encode()),
    ],
)
def test_a_script_restores_the_original(decoded, original):
    restored((decoded, original))


def test_random_changes_are_restored():
    rng = np.random.default_rng(0)
    for _ in range(60):
        pairs = []
        for _ in range(int(rng.integers(1, 4))):
            original = bytes(rng.integers(97, 97 + int(rng.integers(1, 8)), int(rng.integers(0, 400))).tolist())
            decoded = bytearray(original)
            for _ in range(int(rng.integers(0, 9))):
                at = int(rng.integers(0, len(decoded) + 1))
                decoded[at : at + int(rng.integers(0, 40))] = bytes(
                    rng.integers(90, 110, int(rng.integers(0, 5))).tolist()
                )
            pairs.append((bytes(decoded), original))
        restored(*pairs)


def test_nothing_is_to_pay_for_a_lossless_tokenizer():
    assert restoring_bits([(b"one", b"one"), (b"", b"")]) == 0
    assert restoring_bits([(b"one", b"one"), (b"tw", b"two")]) > 0


def test_what_normalizers_change_costs_a_few_bits_an_edit():
    """Newlines that became spaces, as in the contest's tokenizer: what they cost is near their entropy."""
    original, decoded = TEXT.encode(), TEXT.replace("\n", " ").encode()
    lost, spaces = TEXT.count("\n"), TEXT.count("\n") + TEXT.count(" ")
    share = lost / spaces
    entropy = -spaces * (share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert 8 * restored((decoded, original)) < entropy + 8 * 40
    accents = unicodedata.normalize("NFD", "déjà vu, " * 300).encode()
    composed = unicodedata.normalize("NFC", "déjà vu, " * 300).encode()
    assert restored((composed, accents)) < 70


def test_a_tokenizer_that_keeps_only_lengths_saves_nothing():
    """The text is then stored as a whole."""
    original = TEXT.encode()
    assert restored((b"a" * len(original), original)) > 0.9 * restored((b"", original))


def test_tokens_that_decode_to_far_more_than_the_text_are_not_compared_with_it():
    original = b"some text"
    assert restored((b"x" * (3 << 20), original)) <= restored((b"", original)) + 40


def test_edits_are_in_order_and_apart():
    edits = find_edits(TEXT.replace("dog", "cat").replace("it ", "").encode(), TEXT.encode())
    assert all(a.at + a.deleted < b.at for a, b in pairwise(edits))
