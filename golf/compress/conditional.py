"""Symbols coded under the spread that the stored steps imply: one histogram a class, shared by the whole model.

A weight's step is known before its symbol is read, and the weights of a matrix are about equally large. So a symbol's
standard deviation is known up to a constant, and its class is that deviation in half octaves. Scales have classes of
their own. Against one histogram a matrix this saves 8 to 13 % (docs/log.md), and small matrices pay for no table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import constriction
import numpy as np
from numpy.typing import NDArray

from golf.compress.quantize import STEPS_PER_OCTAVE, Steps, Symbols
from golf.errors import DamagedFile

# Class k < 56 holds symbols whose deviation is about 2^(k/2 - 4) steps; rows, columns and terms are scale codes.
RESIDUALS = 56
ROWS, COLUMNS, TERMS = range(RESIDUALS, RESIDUALS + 3)
CLASSES = RESIDUALS + 3
_LOWEST_OCTAVE = -4
_PER_OCTAVE = 2
# From a deviation of 2^5 on, the low bits of a symbol are as good as uniform (the loss is below .001 bits).
_SHIFT_FROM = 5
# High parts of symbols lie within ± this; one symbol this far out at 2^4 deviations a cell would be a spike alone.
MAX_HIGH = 4096
_WIDTH = 2 * MAX_HIGH + 1

# A probability is stored as a byte, -16 log2 p: rounding it costs 4e-5 bits a symbol. 255 marks an absent symbol.
_PER_HALVING = 16
_ABSENT = 255
_FRACTIONS = np.array([round(2 ** (24 - k / _PER_HALVING)) for k in range(_PER_HALVING)], dtype=np.int64)
# class, lowest high part, number of entries
_RECORD = struct.Struct("<BhH")

Classes = NDArray[np.uint8]


def residual_classes(steps: Steps, spread: int) -> Classes:
    """Class of every residual symbol (M, N), given the matrix's spread: its rms over its own step, as a step code."""
    codes = spread - steps.rows.astype(np.int64)[:, None] - steps.columns.astype(np.int64)[None, :]
    classes = codes // (STEPS_PER_OCTAVE // _PER_OCTAVE) - _LOWEST_OCTAVE * _PER_OCTAVE
    return np.clip(classes, 0, RESIDUALS - 1).astype(np.uint8)


def scale_classes(rows: int, columns: int, terms: int) -> Classes:
    """Classes of a matrix's scale codes, in their order."""
    return np.repeat(np.array([ROWS, COLUMNS, TERMS], dtype=np.uint8), [rows, columns, terms])


class Histogram:
    """Counts of the high parts of symbols by class, over as many matrices as are added."""

    def __init__(self) -> None:
        """Start empty."""
        self.counts = np.zeros((CLASSES, _WIDTH), dtype=np.int64)

    def add(self, symbols: Symbols, classes: Classes) -> None:
        """Count flat symbols (n,) of classes (n,); they must be `fits`."""
        cells = classes.astype(np.int64) * _WIDTH + ((symbols >> _shifts(classes)) + MAX_HIGH)
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    def ideal_bits(self) -> float:
        """The conditional entropy of all symbols in bits, low parts included: what a perfect coder would need."""
        totals = np.maximum(self.counts.sum(1, keepdims=True), 1)
        share = np.where(self.counts > 0, self.counts / totals, 1.0)
        low = (totals[:, 0] * (self.counts.sum(1) > 0) * _SHIFTS).sum()
        return float(low - (self.counts * np.log2(share)).sum())


def fits(symbols: Symbols, classes: Classes) -> bool:
    """Whether the high parts of all symbols lie within ± MAX_HIGH."""
    high = symbols >> _shifts(classes)
    return not high.size or (int(high.max()) <= MAX_HIGH and int(high.min()) >= -MAX_HIGH)


@dataclass(frozen=True)
class _Table:
    """Lowest high part and frequencies (A,) int64 of one class."""

    low: int
    frequencies: NDArray[np.int64]

    def model(self) -> object:
        """The class's distribution as constriction knows it."""
        frequencies = self.frequencies.astype(np.float64)
        return constriction.stream.model.Categorical(frequencies / frequencies.sum(), perfect=False)


class Tables:
    """One distribution for every class that occurs. Law: decode(encode(symbols, classes), classes) == symbols."""

    def __init__(self, tables: dict[int, _Table]) -> None:
        """Use `Tables.of` or `Tables.from_bytes`."""
        self._tables = tables

    @classmethod
    def of(cls, histogram: Histogram) -> Tables:
        """Distributions of counted symbols, as `to_bytes` keeps them."""
        return cls({k: _table(low, codes) for k, low, codes in _records(histogram)})

    @staticmethod
    def to_bytes(histogram: Histogram) -> bytes:
        """One record a class; the codes of neighbouring symbols differ little, so differences are stored."""
        parts = []
        for k, low, codes in _records(histogram):
            differences = np.diff(codes, prepend=np.uint8(0))  # modulo 256
            parts.append(_RECORD.pack(k, low, len(codes)) + differences.tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, content: bytes, *, part: str) -> Tables:
        """Inverse of `to_bytes`; raises DamagedFile naming `part`."""
        tables: dict[int, _Table] = {}
        position, last = 0, -1
        while position < len(content):
            if position + _RECORD.size > len(content):
                raise DamagedFile(part, "ends within a record")
            k, low, count = _RECORD.unpack_from(content, position)
            position += _RECORD.size
            if not last < k < CLASSES or not count or low < -MAX_HIGH or low + count - 1 > MAX_HIGH:
                raise DamagedFile(part, "holds a record of no class or of symbols that no class has")
            if position + count > len(content):
                raise DamagedFile(part, "ends within a record")
            differences = np.frombuffer(content, dtype=np.uint8, count=count, offset=position)
            tables[k] = _table(low, np.cumsum(differences, dtype=np.uint8))
            if not tables[k].frequencies.any():
                raise DamagedFile(part, "holds a class without symbols")
            position, last = position + count, k
        return cls(tables)

    def encode(self, symbols: Symbols, classes: Classes) -> bytes:
        """Flat symbols (n,) of classes (n,) → the words of one ANS coder; every symbol must have been counted."""
        coder = constriction.stream.stack.AnsCoder()
        order, groups = _groups(classes)
        ordered = symbols[order]
        for k, where in reversed(list(groups)):
            table, group = self._tables[k], ordered[where]
            if shift := int(_SHIFTS[k]):
                coder.encode_reverse((group & ((1 << shift) - 1)).astype(np.int32), _uniform(shift))
            if len(table.frequencies) > 1:
                coder.encode_reverse(((group >> shift) - table.low).astype(np.int32), table.model())
        return bytes(coder.get_compressed().astype("<u4").tobytes())

    def decode(self, payload: bytes, classes: Classes, *, part: str) -> Symbols:
        """Inverse of `encode`: symbols (n,) int32; raises DamagedFile naming `part` on anything malformed."""
        if len(payload) % 4:
            raise DamagedFile(part, "is no whole number of words")
        order, groups = _groups(classes)
        ordered = np.empty(len(classes), dtype=np.int32)
        try:
            coder = constriction.stream.stack.AnsCoder(np.frombuffer(payload, dtype="<u4").astype(np.uint32))
            for k, where in groups:
                ordered[where] = self._decode_group(coder, k, where.stop - where.start, part)
            left_over = not coder.is_empty()
        except DamagedFile:
            raise
        except BaseException as error:  # the Rust core reports broken input as a panic, which is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            raise DamagedFile(part, "entropy-coded data is malformed") from None
        if left_over:
            raise DamagedFile(part, "holds more than its symbols")
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    def _decode_group(self, coder: constriction.stream.stack.AnsCoder, k: int, count: int, part: str) -> Symbols:
        if (table := self._tables.get(k)) is None:
            raise DamagedFile(part, f"needs symbols of class {k}, which has no table")
        high = np.full(count, table.low, dtype=np.int32)
        if len(table.frequencies) > 1:
            high += np.asarray(coder.decode(table.model(), count), dtype=np.int32)
        if not (shift := int(_SHIFTS[k])):
            return high
        return (high << shift) | np.asarray(coder.decode(_uniform(shift), count), dtype=np.int32)


def _shift_of(k: int) -> int:
    """Low bits of a symbol of class k that are coded as uniform."""
    return max(0, k // _PER_OCTAVE + _LOWEST_OCTAVE - _SHIFT_FROM + 1) if k < RESIDUALS else 0


_SHIFTS = np.array([_shift_of(k) for k in range(CLASSES)], dtype=np.int32)


def _shifts(classes: Classes) -> NDArray[np.int32]:
    shifts: NDArray[np.int32] = _SHIFTS[classes]
    return shifts


def _uniform(bits: int) -> object:
    return constriction.stream.model.Uniform(1 << bits)


def _groups(classes: Classes) -> tuple[NDArray[np.int64], Iterator[tuple[int, slice]]]:
    """The stable order of symbols by class, and where each class that occurs lies in it."""
    ends = np.cumsum(np.bincount(classes, minlength=CLASSES))
    starts = ends - np.bincount(classes, minlength=CLASSES)
    groups = ((k, slice(int(starts[k]), int(ends[k]))) for k in range(CLASSES) if ends[k] > starts[k])
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
