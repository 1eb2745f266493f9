"""Conditional entropy coding (ANS) of quantized weights: each symbol's class selects one histogram of the whole model.

A weight's step and the context scales of its row and column are decoded before its symbol. They predict the symbol's
standard deviation, and the symbol's class is that deviation in half octaves. Step codes and context scales have classes
of their own. Against one histogram per matrix this saves 7 to 13 % (docs/log.md), and small matrices need no table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from golf.compress.context_scales import ContextScales
from golf.compress.quantize import STEPS_PER_OCTAVE, StepCodes, Symbols
from golf.errors import DamagedFile, refusing

# Class k < 56 holds symbols whose standard deviation is about 2^(k/2 - 4) steps. ROWS, COLUMNS and TERMS are classes of
# step codes, the next two of context scales. Trellis symbols on grid 1, where zero has closer neighbours, have classes
# of their own, from SECOND_GRID on.
RESIDUALS = 56
ROWS, COLUMNS, TERMS, ROW_SCALES, COLUMN_SCALES = range(RESIDUALS, RESIDUALS + 5)
SECOND_GRID = 64
CLASSES = SECOND_GRID + RESIDUALS
# Classes that a reader accepts, by the first format version that has them.
KNOWN = {
    2: frozenset(range(ROW_SCALES)),
    4: frozenset(range(ROW_SCALES)) | frozenset(range(SECOND_GRID, CLASSES)),
    7: frozenset(range(COLUMN_SCALES + 1)) | frozenset(range(SECOND_GRID, CLASSES)),
    8: frozenset(range(RESIDUALS)) | frozenset(range(SECOND_GRID, CLASSES)),
}
KNOWN[11] = KNOWN[8]
_LOWEST_OCTAVE = -4
_PER_OCTAVE = 2
# From a standard deviation of 2^5 on, a symbol's low bits are coded as uniform, which costs below .001 bits a symbol.
_SHIFT_FROM = 5
# High parts of symbols (the bits above the uniform ones) lie within ± this; a larger one is coded by zstd.
MAX_HIGH = 4096
_WIDTH = 2 * MAX_HIGH + 1

# A probability is stored as a byte, -16 log2 p: rounding it costs 4e-5 bits a symbol. 255 marks an absent symbol.
_PER_HALVING = 16
_ABSENT = 255
_FRACTIONS = np.array([round(2 ** (24 - k / _PER_HALVING)) for k in range(_PER_HALVING)], dtype=np.int64)
# class, lowest high part, number of entries
_RECORD = struct.Struct("<BhH")

Classes = NDArray[np.uint8]


def residual_classes(steps: StepCodes, scales: ContextScales) -> Classes:
    """Class of every residual symbol (M, N), given the matrix's steps and context scales."""
    return classes_of(scales.levels(steps))


def classes_of(levels: NDArray[np.int16]) -> Classes:
    """Classes of symbols whose log2 standard deviations `levels` are given in step codes (quarter octaves)."""
    classes = levels // (STEPS_PER_OCTAVE // _PER_OCTAVE) - _LOWEST_OCTAVE * _PER_OCTAVE
    return np.clip(classes, 0, RESIDUALS - 1).astype(np.uint8)


def scale_classes(rows: int, columns: int, terms: int) -> Classes:
    """Classes (rows + columns + terms,) of a matrix's step codes, in the order of the section `scales`."""
    return np.repeat(np.array([ROWS, COLUMNS, TERMS], dtype=np.uint8), [rows, columns, terms])


def context_scale_classes(rows: int, columns: int) -> Classes:
    """Classes (rows + columns,) of the codes of a matrix's context scales, in the order of the section `scales`."""
    return np.repeat(np.array([ROW_SCALES, COLUMN_SCALES], dtype=np.uint8), [rows, columns])


class Histogram:
    """Counts of the high parts of symbols by class, (CLASSES, 2 · MAX_HIGH + 1), summed over all added matrices."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts = np.zeros((CLASSES, _WIDTH), dtype=np.int64)

    def add(self, symbols: Symbols, classes: Classes) -> None:
        """Count flat symbols (n,) of classes (n,), for which `fits` must hold."""
        if not symbols.size:
            return
        high = symbols >> _shifts(classes)
        low, width = int(high.min()), int(high.max()) - int(high.min()) + 1
        counts = np.bincount(classes.astype(np.int64) * width + (high - low), minlength=CLASSES * width)
        start = low + MAX_HIGH
        self.counts[:, start : start + width] += counts.reshape(CLASSES, width)

    def ideal_bits(self) -> float:
        """The conditional entropy of all symbols given their classes, in bits, low parts included."""
        totals, held = self.counts.sum(1), self.counts[self.counts > 0]
        present = totals[totals > 0]
        high = (present * np.log2(present)).sum() - (held * np.log2(held)).sum()
        return float((totals * _SHIFTS).sum() + high)


def fits(symbols: Symbols, classes: Classes) -> bool:
    """Whether the high parts of all symbols lie within ± MAX_HIGH."""
    high = symbols >> _shifts(classes)
    return not high.size or (int(high.max()) <= MAX_HIGH and int(high.min()) >= -MAX_HIGH)


@dataclass(frozen=True)
class _Table:
    """Lowest high part and frequencies (A,) int64 of one class."""

    low: int
    frequencies: NDArray[np.int64]

    @cached_property
    def model(self) -> object:
        """The class's distribution as a model of the constriction library."""
        frequencies = self.frequencies.astype(np.float64)
        return constriction.stream.model.Categorical(frequencies / frequencies.sum(), perfect=False)


class Tables:
    """One distribution for every class that occurs. Law: decode(encode(symbols, classes), classes) == symbols."""

    def __init__(self, tables: dict[int, _Table]) -> None:
        """Use `Tables.of` or `Tables.from_bytes`."""
        self._tables = tables

    @classmethod
    def of(cls, histogram: Histogram) -> Tables:
        """Distributions of counted symbols, with the rounding that `to_bytes` applies."""
        return cls({k: _table(low, codes) for k, low, codes in _records(histogram)})

    @staticmethod
    def to_bytes(histogram: Histogram) -> bytes:
        """One record per class that occurs; differences of neighbouring codes are stored, since they are small."""
        parts = []
        for k, low, codes in _records(histogram):
            differences = np.diff(codes, prepend=np.uint8(0))  # modulo 256
            parts.append(_RECORD.pack(k, low, len(codes)) + differences.tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes, *, part: str, known: Container[int] = KNOWN[max(KNOWN)]) -> Tables:
        """Inverse of `to_bytes` for `known` classes; raises DamagedFile naming `part`."""
        tables: dict[int, _Table] = {}
        position, last = 0, -1
        while position < len(content):
            if position + _RECORD.size > len(content):
                raise DamagedFile(part, "ends within a record")
            k, low, count = _RECORD.unpack_from(content, position)
            position += _RECORD.size
            if not last < k or k not in known or not count or low < -MAX_HIGH or low + count - 1 > _highest(k):
                raise DamagedFile(part, "holds a record of no class or of symbols that no class has")
            if position + count > len(content):
                raise DamagedFile(part, "ends within a record")
            differences = np.frombuffer(content, dtype=np.uint8, count=count, offset=position)
            tables[k] = _table(low, np.cumsum(differences, dtype=np.uint8))
            if not tables[k].frequencies.any():
                raise DamagedFile(part, "holds a class without symbols")
            position, last = position + count, k
        return cls(tables)

    def encode(self, symbols: Symbols, classes: Classes, *, block: int | None = None) -> bytes:
        """Flat symbols (n,) of classes (n,) → the words of one ANS coder; every symbol must have been counted.

        A reader decodes `block` symbols at a time, by default all at once.
        """
        coder = constriction.stream.stack.AnsCoder()
        for start in reversed(range(0, len(symbols), block or max(1, len(symbols)))):
            part = slice(start, start + block if block else None)
            self._encode_block(coder, symbols[part], classes[part])
        return bytes(coder.get_compressed().astype("<u4").tobytes())

    def decode(self, payload: bytes, classes: Classes, *, part: str) -> Symbols:
        """Inverse of `encode`: symbols (n,) int32; raises DamagedFile naming `part` on anything malformed."""
        reader = Reader(self, payload, part=part)
        symbols = reader.read(classes)
        reader.finish()
        return symbols

    def table(self, k: int) -> _Table | None:
        """The distribution of class k; None where the class has none."""
        return self._tables.get(k)

    def _encode_block(self, coder: constriction.stream.stack.AnsCoder, symbols: Symbols, classes: Classes) -> None:
        order, groups = _groups(classes)
        ordered = symbols[order]
        for k, where in reversed(groups):
            table, group = self._tables[k], ordered[where]
            if shift := int(_SHIFTS[k]):
                coder.encode_reverse((group & ((1 << shift) - 1)).astype(np.int32), _uniform(shift))
            if len(table.frequencies) > 1:
                coder.encode_reverse(((group >> shift) - table.low).astype(np.int32), table.model)


class Reader:
    """Reads what `Tables.encode` wrote, block by block; raises DamagedFile naming `part` on anything malformed."""

    def __init__(self, tables: Tables, payload: bytes, *, part: str) -> None:
        """Start at the first symbol."""
        if len(payload) % 4:
            raise DamagedFile(part, "is no whole number of words")
        self._tables, self._part = tables, part
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        self._coder = self._guarded(lambda: constriction.stream.stack.AnsCoder(words))

    def read(self, classes: Classes) -> Symbols:
        """The next symbols (n,) int32, of classes (n,)."""
        order, groups = _groups(classes)
        ordered = np.empty(len(classes), dtype=np.int32)
        self._guarded(partial(self._fill, ordered, groups))
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def finish(self) -> None:
        """Raise DamagedFile where the payload holds more than the symbols that were read."""
        if not self._guarded(self._coder.is_empty):
            raise DamagedFile(self._part, "holds more than its symbols")

    def _fill(self, ordered: Symbols, groups: list[tuple[int, slice]]) -> None:
        """Decode the next symbols into `ordered`, sorted by class. Small groups are many, so the loop is kept short."""
        for k, where in groups:
            if (table := self._tables.table(k)) is None:
                raise DamagedFile(self._part, f"needs symbols of class {k}, which has no table")
            group = ordered[where]
            if len(table.frequencies) > 1:
                np.add(self._coder.decode(table.model, len(group)), table.low, out=group)
            else:
                group.fill(table.low)
            if shift := int(_SHIFTS[k]):
                group <<= shift
                group |= np.asarray(self._coder.decode(_uniform(shift), len(group)), dtype=np.int32)

    def _guarded(self, call: Callable[[], Any]) -> Any:
        with refusing(DamagedFile(self._part, "entropy-coded data is malformed")):
            return call()


def _highest(k: int) -> int:
    """The largest high part whose symbols are int32."""
    return min(MAX_HIGH, (1 << 31 - int(_SHIFTS[k])) - 1)


def _shift_of(k: int) -> int:
    """Low bits of a symbol of class k that are coded as uniform."""
    k %= SECOND_GRID
    return max(0, k // _PER_OCTAVE + _LOWEST_OCTAVE - _SHIFT_FROM + 1) if k < RESIDUALS else 0


_SHIFTS = np.array([_shift_of(k) for k in range(CLASSES)], dtype=np.int32)


def _shifts(classes: Classes) -> NDArray[np.int32]:
    shifts: NDArray[np.int32] = _SHIFTS[classes]
    return shifts


def _uniform(bits: int) -> object:
    return constriction.stream.model.Uniform(1 << bits)


def _groups(classes: Classes) -> tuple[NDArray[np.int64], list[tuple[int, slice]]]:
    """The stable order of symbols by class, and the slice of that order that each occurring class takes."""
    counts = np.bincount(classes, minlength=CLASSES)
    present = np.flatnonzero(counts)
    ends = np.cumsum(counts[present]).tolist()
    groups = [(k, slice(start, end)) for k, start, end in zip(present.tolist(), [0, *ends], ends, strict=False)]
    return np.argsort(classes, kind="stable"), groups


def _records(histogram: Histogram) -> Iterable[tuple[int, int, NDArray[np.uint8]]]:
    """Class, lowest high part, and the stored codes (A,) of every class that occurs."""
    for k, counts in enumerate(histogram.counts):
        held = np.flatnonzero(counts)
        if held.size:
            window = counts[held[0] : held[-1] + 1]
            share = np.maximum(window, 1) / window.sum()
            codes = np.minimum(np.rint(-_PER_HALVING * np.log2(share)), _ABSENT - 1)
            yield k, int(held[0]) - MAX_HIGH, np.where(window > 0, codes, _ABSENT).astype(np.uint8)


def _table(low: int, codes: NDArray[np.uint8]) -> _Table:
    frequencies = _FRACTIONS[codes % _PER_HALVING] >> (codes // _PER_HALVING).astype(np.int64)
    return _Table(low, np.where(codes == _ABSENT, 0, frequencies))
