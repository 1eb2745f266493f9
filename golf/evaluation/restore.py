"""Restore a text from what its tokens decode to: an edit script, and the bits that it costs.

Bits per byte are those of a lossless code. A tokenizer that changes its text (a normalizer, unknown characters, spaces
that it drops) leaves something out of the code of the tokens; what is missing is coded here and counted too. A lossless
tokenizer costs nothing. Laws: `restore(decoded, edit_script(pairs)) == b"".join(originals)`, and a script is written by
the one who measures, for a text that lies at hand: no script is ever read from a file.

A script says at each byte of the decoded text whether an edit begins there. The edits of a normalizer follow their
surroundings (a newline becomes a space, most often after a full stop), so that the byte and the kind of byte before it
are the context of an adaptive binary code (Krichevsky and Trofimov 1981); contexts without any edit cost nothing.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

# A script is a list of edits, or, where that is shorter, the compressed text itself.
_EDITS, _WHOLE = b"\0", b"\1"
# Bytes that two texts must share behind an edit, and the most bytes that such an edit takes away and puts in: first
# small edits, then larger ones. Any choice gives a right script; these keep the scripts of normalizers short.
_CLOSE = ((3, 3), (8, 24))
# Beyond that, a run of 16 bytes of the decoded text is looked for within the next 4 kB of the original.
_RUN, _TRIES, _AHEAD = 16, 32, 4096
# Bytes that tokens may decode to for each byte of the text, before the text is stored as a whole.
_MOST_DECODED = 8
# Edits that a document may have before it is replaced as a whole: one for every eighth byte, and a few.
_MOST_EDITS = 8


class Edit(NamedTuple):
    """At byte `at` of the decoded text, `inserted` takes the place of `deleted` bytes."""

    at: int
    deleted: int
    inserted: bytes


def restoring_bits(pairs: Iterable[tuple[bytes, bytes]], *, poll: Callable[[], None] | None = None) -> int:
    """Bits of the script that restores all documents, given as pairs (decoded, original); 0 where none was changed.

    `poll` is called often and may raise to stop.
    """
    pairs = list(pairs)
    return 8 * len(edit_script(pairs, poll=poll)) if any(decoded != original for decoded, original in pairs) else 0


def edit_script(pairs: Iterable[tuple[bytes, bytes]], *, poll: Callable[[], None] | None = None) -> bytes:
    """The shorter of two scripts that restore the originals of the pairs (decoded, original), joined."""
    pairs = list(pairs)
    whole = _WHOLE + lzma.compress(b"".join(original for _, original in pairs), lzma.FORMAT_ALONE, preset=6)
    decoded_bytes, original_bytes = (sum(map(len, part)) for part in zip(*pairs, strict=True)) if pairs else (0, 0)
    if decoded_bytes > _MOST_DECODED * original_bytes + (1 << 20):  # pieces of a kilobyte make gigabytes of a text
        return whole
    edits: list[Edit] = []
    start = 0
    for decoded, original in pairs:
        for at, deleted, inserted in find_edits(decoded, original, poll=poll):
            # one document's end and the next one's start are the same place
            before = edits.pop().inserted if edits and edits[-1].at == start + at else b""
            edits.append(Edit(start + at, deleted, before + inserted))
        start += len(decoded)
    return min(_EDITS + _pack(b"".join(decoded for decoded, _ in pairs), edits), whole, key=len)


def restore(decoded: bytes, script: bytes) -> bytes:
    """The original text of a script."""
    if script[:1] == _WHOLE:
        return lzma.decompress(script[1:])
    parts, place = [], 0
    for edit in _unpack(decoded, script[1:]):
        parts += [decoded[place : edit.at], edit.inserted]
        place = edit.at + edit.deleted
    return b"".join([*parts, decoded[place:]])


def find_edits(decoded: bytes, original: bytes, *, poll: Callable[[], None] | None = None) -> list[Edit]:
    """Edits that turn one text into the other, in order and without overlap; not the fewest, but in linear time."""
    edits: list[Edit] = []
    i = j = 0
    while True:
        same = _common_prefix(decoded, i, original, j)
        i, j = i + same, j + same
        if (i, j) == (len(decoded), len(original)):
            return edits
        if poll is not None:
            poll()
        deleted, inserted = _next_agreement(decoded, i, original, j)
        if len(edits) > _MOST_EDITS + len(decoded) // _MOST_EDITS:
            deleted, inserted = len(decoded) - i, len(original) - j
        edits.append(Edit(i, deleted, original[j : j + inserted]))
        i, j = i + deleted, j + inserted


def _common_prefix(first: bytes, i: int, second: bytes, j: int) -> int:
    """Length of the longest common prefix of first[i:] and second[j:]."""
    length, step = 0, 16
    while step:
        left = first[i + length : i + length + step]
        if left and left == second[j + length : j + length + step]:
            length, step = length + len(left), 2 * step
        else:
            step //= 2
    return length


def _next_agreement(decoded: bytes, i: int, original: bytes, j: int) -> tuple[int, int]:
    """Bytes to delete and to insert until the texts agree again; all that is left where they do not."""
    for shared, most in _CLOSE:
        for total in range(1, 2 * most + 1):
            for deleted in range(max(0, total - most), min(total, most) + 1):
                after = decoded[i + deleted : i + deleted + shared]
                if after and after == original[j + total - deleted : j + total - deleted + shared]:
                    return deleted, total - deleted
    for skipped in range(0, _RUN * _TRIES, _RUN):
        run = decoded[i + skipped : i + skipped + _RUN]
        if len(run) == _RUN and (found := original.find(run, j, j + _AHEAD)) >= 0:
            return skipped, found - j
    return len(decoded) - i, len(original) - j


@dataclass(frozen=True)
class _Places:
    """Bytes of a decoded text (n,) at which an edit may begin: their offsets, and their contexts numbered from 0."""

    offsets: NDArray[np.int64]
    contexts: NDArray[np.int64]

    @classmethod
    def of(cls, decoded: bytes, wanted: NDArray[np.int64]) -> _Places:
        """The places whose context is one of `wanted` (ascending)."""
        contexts = _contexts(decoded)
        found = np.minimum(np.searchsorted(wanted, contexts), max(len(wanted) - 1, 0))
        offsets = np.flatnonzero(wanted[found] == contexts) if len(wanted) else np.zeros(0, dtype=np.int64)
        return cls(offsets, found[offsets])


def _contexts(decoded: bytes) -> NDArray[np.int64]:
    """The context (n+1,) of each byte and of the end: the byte, 256 at the end, and what kind of byte is before it."""
    text = np.frombuffer(decoded, dtype=np.uint8).astype(np.int64)
    kinds = np.full(256, 0)
    kinds[ord("0") : ord("9") + 1] = 1
    kinds[list(b".!?:")] = 2
    kinds[list(b"\"'(),-/;<=>[]_{}*#")] = 3
    kinds[: ord(" ") + 1] = 4
    return np.append(text, 256) + 257 * kinds[np.append(ord(" "), text)]


def _pack(decoded: bytes, edits: list[Edit]) -> bytes:
    """A header of contexts and of different edits, deflated, then one range code of where which edit is."""
    kinds = list(dict.fromkeys((edit.deleted, edit.inserted) for edit in edits))
    starts = np.array([edit.at for edit in edits], dtype=np.int64)
    contexts = _contexts(decoded)
    wanted = np.unique(contexts[starts]) if edits else np.zeros(0, dtype=np.int64)
    header = zlib.compress(b"".join(_header(wanted, kinds)), 9)
    places = _Places.of(decoded, wanted)
    encoder = constriction.stream.queue.RangeEncoder()
    begins = np.isin(places.offsets, starts)
    encoder.encode(begins.astype(np.int32), _decision(), _adaptive(begins, places.contexts, len(wanted)))
    last: dict[int, int] = {}
    numbers = {kind: number for number, kind in enumerate(kinds)}
    repeats = _Counts()
    for context, edit in zip(contexts[starts].tolist(), edits, strict=True):
        number = numbers[edit.deleted, edit.inserted]
        same = last.get(context, 0) == number
        encoder.encode(int(same), _decision(repeats.share()))
        repeats.add(same)
        if not same:
            encoder.encode(number, constriction.stream.model.Uniform(max(len(kinds), 2)))
        last[context] = number
    words: NDArray[np.uint32] = encoder.get_compressed()
    return b"".join(_varints([len(header)])) + header + words.astype("<u4").tobytes()


def _unpack(decoded: bytes, packed: bytes) -> list[Edit]:
    numbers = _Varints(packed)
    size = next(numbers)
    header = zlib.decompress(packed[numbers.place : numbers.place + size])
    wanted, kinds = _read_header(header)
    words = np.frombuffer(packed[numbers.place + size :], dtype="<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    places = _Places.of(decoded, wanted)
    counts = [_Counts() for _ in wanted]
    starts = []
    for offset, context in zip(places.offsets.tolist(), places.contexts.tolist(), strict=True):
        begins = bool(decoder.decode(_decision(counts[context].share())))
        counts[context].add(begins)
        if begins:
            starts.append((offset, context))
    edits, last, repeats = [], dict[int, int](), _Counts()
    for offset, context in starts:
        same = bool(decoder.decode(_decision(repeats.share())))
        repeats.add(same)
        other = None if same else int(decoder.decode(constriction.stream.model.Uniform(max(len(kinds), 2))))
        last[context] = last.get(context, 0) if other is None else other
        edits.append(Edit(offset, *kinds[last[context]]))
    return edits


@dataclass
class _Counts:
    """Of how many decisions how many were yes."""

    all: int = 0
    yes: int = 0

    def share(self) -> float:
        """Probability of yes (Krichevsky and Trofimov)."""
        return (self.yes + 0.5) / (self.all + 1)

    def add(self, decision: bool) -> None:
        self.all += 1
        self.yes += decision


def _adaptive(decisions: NDArray[np.bool_], contexts: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Probability (n,) of yes before each decision: that of `_Counts.share` of its context."""
    order = np.argsort(contexts, kind="stable")
    sorted_contexts, sorted_decisions = contexts[order], decisions[order].astype(np.int64)
    firsts = np.searchsorted(sorted_contexts, np.arange(count))[sorted_contexts]
    before = np.cumsum(sorted_decisions) - sorted_decisions
    yes, everything = before - before[firsts], np.arange(len(order)) - firsts
    shares = np.empty(len(order))
    shares[order] = (yes + 0.5) / (everything + 1)
    return shares


def _decision(share: float | None = None) -> Any:
    """The model of a decision that is yes with this probability; a family of them, one for each decision, without."""
    return constriction.stream.model.Bernoulli(*([] if share is None else [share]), perfect=False)


def _header(wanted: NDArray[np.int64], kinds: list[tuple[int, bytes]]) -> Iterator[bytes]:
    yield from _varints([len(wanted), *np.diff(wanted, prepend=0).tolist(), len(kinds)])
    for deleted, inserted in kinds:
        yield from _varints([deleted, len(inserted)])
        yield inserted


def _read_header(header: bytes) -> tuple[NDArray[np.int64], list[tuple[int, bytes]]]:
    numbers = _Varints(header)
    wanted = np.cumsum([next(numbers) for _ in range(next(numbers))], dtype=np.int64)
    kinds = []
    for _ in range(next(numbers)):
        deleted, length = next(numbers), next(numbers)
        kinds.append((deleted, numbers.take(length)))
    return wanted, kinds


def _varints(numbers: Iterable[int]) -> Iterator[bytes]:
    """Little-endian groups of 7 bits, the high bit set on all but the last (LEB128)."""
    for number in numbers:
        while number >= 128:
            yield bytes([number & 127 | 128])
            number >>= 7
        yield bytes([number])


class _Varints:
    """Reads what `_varints` wrote, from the front."""

    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def __next__(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.content[self.place]
            self.place += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        self.place += length
        return self.content[self.place - length : self.place]
