"""Code the steps and context scales of all matrices as one section, each vector under what the ones before it show.

A vector of codes (the rows or columns of one matrix) has its own narrow distribution, too short for a table of its own.
It is learnt while it is coded, from a prior that its kind had in the matrices before. Step codes are also predicted:
query, key and value read the same inputs, and a hidden unit is a row of `up` and a column of `down`, so that the
difference to an earlier vector may take fewer bits. A row or column without a symbol has no step. Against one histogram
of each kind for the whole model this saves 30 to 40 % (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from golf.compress.context_scales import ContextScales
from golf.compress.decode_matrix import QuantizedMatrix
from golf.compress.entropy import ideal_bits
from golf.compress.quantize import StepCodes
from golf.errors import DamagedFile, refusing

# The context scale of a row or column whose symbols are all zero: it stands for the step code too, which is 0.
DEAD = -127
# Values are coded as offsets into an alphabet of this size around 0: differences of two bytes.
_ALPHABET, _ZERO = 512, 256
# The prior counts as this many codes, of its own counts each weighs 50 times an unseen code, and a fifth of all is
# forgotten with each vector. Half or twice as much changes 1 % of the section.
_PRIOR, _SEEN, _KEPT, _OF = 4, 50, 4, 5
# A distribution is renewed after another eighth of the vector: .03 bits a code more than after each code.
_RENEWED = 8
# Earlier vectors of steps that may predict one, and the bits that a prediction must save.
_REFERENCES, _LEAST_SAVED = 63, 8
# Kinds of vectors, each with a prior of its own; a predicted vector has the next kind.
_CONTEXT_ROWS, _CONTEXT_COLUMNS, _ROWS, _COLUMNS, _TERMS, _REFERENCE = 0, 1, 2, 4, 6, 7

Vector = NDArray[np.int64]


@dataclass(frozen=True)
class MatrixScales:
    """The codes of one matrix (M, N) of rank R: steps, terms (R,) uint8, and context scales."""

    steps: StepCodes
    terms: NDArray[np.uint8]
    contexts: ContextScales

    @classmethod
    def of(cls, matrix: QuantizedMatrix) -> MatrixScales:
        """Those of a quantized matrix."""
        return cls(matrix.steps, matrix.factors.codes, matrix.context_scales)


@dataclass(frozen=True)
class MatrixLayout:
    """Shape, rank and overall context scale of a matrix; `contextual` where context scales are stored of its rows."""

    shape: tuple[int, int]
    rank: int
    whole: int
    contextual: bool

    @classmethod
    def of(cls, matrix: QuantizedMatrix, contextual: bool) -> MatrixLayout:
        """What a reader will know of a quantized matrix."""
        return cls(matrix.shape, matrix.factors.rank, matrix.context_scales.whole, contextual)

    @property
    def count(self) -> int:
        """Number of codes, absent ones included."""
        rows_and_columns = sum(self.shape)
        return rows_and_columns * (2 if self.contextual else 1) + self.rank


def without_dead(matrix: QuantizedMatrix) -> QuantizedMatrix:
    """The same matrix with rows and columns that have no symbol marked as DEAD; matrices with factors stay."""
    if matrix.factors.rank:
        return matrix
    residual = np.zeros(matrix.shape, dtype=np.int32) if matrix.residual is None else matrix.residual
    alive = residual.any(1), residual.any(0)
    steps = (matrix.steps.rows, matrix.steps.columns)
    contexts = (matrix.context_scales.rows, matrix.context_scales.columns)
    return replace(
        matrix,
        steps=StepCodes(*(np.where(a, codes, 0).astype(np.uint8) for a, codes in zip(alive, steps, strict=True))),
        context_scales=ContextScales(
            matrix.context_scales.whole,
            *(np.where(a, codes, DEAD).astype(np.int8) for a, codes in zip(alive, contexts, strict=True)),
        ),
    )


def pack_scales(scales: Sequence[MatrixScales], contextual: Sequence[bool]) -> bytes:
    """The section of all matrices' codes; context scales only of those that are `contextual`."""
    writer = _Writer()
    for each, with_contexts in zip(scales, contextual, strict=True):
        _walk(writer, each, with_contexts)
    words: NDArray[np.uint32] = writer.encoder.get_compressed()
    return words.astype("<u4").tobytes()


def unpack_scales(payload: bytes, layouts: Sequence[MatrixLayout], *, part: str) -> list[MatrixScales]:
    """Inverse of `pack_scales`; raises DamagedFile naming `part`."""
    if len(payload) % 4:
        raise DamagedFile(part, "is no whole number of words")
    reader = _Reader(payload, part)
    scales = [reader.matrix(each) for each in layouts]
    reader.finish()
    return scales


def plain_scales(scales: Sequence[MatrixScales]) -> NDArray[np.int32]:
    """Step codes and terms of all matrices side by side, for a section of codec zstd."""
    codes = [part for each in scales for part in (each.steps.rows, each.steps.columns, each.terms)]
    return np.concatenate([*codes, np.empty(0)]).astype(np.int32)


def split_scales(codes: NDArray[np.int32], layouts: Sequence[MatrixLayout], *, part: str) -> list[MatrixScales]:
    """Inverse of `plain_scales`; raises DamagedFile naming `part`."""
    if codes.size and not 0 <= codes.min() <= codes.max() <= 255:
        raise DamagedFile(part, "a scale code is not a byte")
    found, start = [], 0
    for each in layouts:
        (M, N), own = each.shape, codes[start : start + sum(each.shape) + each.rank].astype(np.uint8)
        start += len(own)
        rows, columns, terms = np.split(own, [M, M + N])
        found.append(MatrixScales(StepCodes(rows, columns), terms, ContextScales.even(each.whole, each.shape)))
    return found


@dataclass
class _Adaptive:
    """Priors of every kind, and the vectors of steps that may predict later ones."""

    priors: dict[int, Vector] = field(default_factory=dict)
    steps: list[Vector] = field(default_factory=list)

    def models(self, kind: int, count: int) -> Iterator[tuple[slice, Any, Callable[[NDArray[Any]], None]]]:
        """Slices of a vector of `count` codes, each with its model and a function that is told the slice's codes."""
        prior = self.priors.setdefault(kind, np.ones(_ALPHABET, dtype=np.int64))
        seen, total, start = np.zeros(_ALPHABET, dtype=np.int64), int(prior.sum()), 0

        def learn(codes: NDArray[Any]) -> None:
            np.add.at(seen, codes, 1)

        while start < count:
            end = min(count, start + max(1, start // _RENEWED))
            likely = seen * total + _PRIOR * prior  # integers, so that every machine has the same
            yield slice(start, end), _categorical(likely), learn
            start = end
        self.priors[kind] = np.maximum(1, _KEPT * prior // _OF + _SEEN * seen)

    def references(self, length: int) -> list[Vector]:
        """Earlier vectors of steps of this length, the latest first."""
        return [each for each in reversed(self.steps) if len(each) == length][:_REFERENCES]


class _Writer(_Adaptive):
    """Codes vectors one behind another."""

    def __init__(self) -> None:
        """Start empty."""
        super().__init__()
        self.encoder = constriction.stream.queue.RangeEncoder()

    def vector(self, kind: int, codes: NDArray[Any]) -> None:
        """Code a vector."""
        symbols = np.ascontiguousarray(codes, dtype=np.int32) + _ZERO
        for where, model, learn in self.models(kind, len(symbols)):
            self.encoder.encode(symbols[where], model)
            learn(symbols[where])

    def steps_of(self, kind: int, codes: NDArray[np.uint8], alive: NDArray[np.bool_]) -> None:
        """Code the step codes of the rows or columns that are `alive`."""
        own = codes.astype(np.int64)
        earlier = self.references(len(own))
        bits = [ideal_bits((own - each)[alive].astype(np.int32)) + _LEAST_SAVED for each in earlier]
        least = min(bits, default=np.inf)
        place = bits.index(least) + 1 if least < ideal_bits(own[alive].astype(np.int32)) else 0
        self.vector(_REFERENCE, np.array([place]))
        self.vector(kind + bool(place), (own - earlier[place - 1] if place else own)[alive])
        self.steps.append(own)


class _Reader(_Adaptive):
    """Decodes what a _Writer coded; raises DamagedFile."""

    def __init__(self, payload: bytes, part: str) -> None:
        """Start at the first vector."""
        super().__init__()
        self._part = part
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        self._decoder = self._guarded(lambda: constriction.stream.queue.RangeDecoder(words))

    def vector(self, kind: int, count: int) -> Vector:
        """The next vector of `count` codes."""
        codes = np.empty(count, dtype=np.int64)
        for where, model, learn in self.models(kind, count):
            codes[where] = self._guarded(partial(self._decoder.decode, model, where.stop - where.start))
            learn(codes[where])
        return codes - _ZERO

    def matrix(self, layout: MatrixLayout) -> MatrixScales:
        """The codes of the next matrix."""
        contexts = ContextScales.even(layout.whole, layout.shape)
        if layout.contextual:
            rows, columns = (
                self._within(self.vector(kind, count), -127, 127)
                for kind, count in zip((_CONTEXT_ROWS, _CONTEXT_COLUMNS), layout.shape, strict=True)
            )
            contexts = ContextScales(layout.whole, rows.astype(np.int8), columns.astype(np.int8))
        steps = [
            self._steps(kind, codes != DEAD) for kind, codes in ((_ROWS, contexts.rows), (_COLUMNS, contexts.columns))
        ]
        terms = self._within(self.vector(_TERMS, layout.rank), 0, 255).astype(np.uint8)
        return MatrixScales(StepCodes(*steps), terms, contexts)

    def _steps(self, kind: int, alive: NDArray[np.bool_]) -> NDArray[np.uint8]:
        earlier = self.references(len(alive))
        place = int(self.vector(_REFERENCE, 1)[0])
        if not 0 <= place <= len(earlier):
            raise DamagedFile(self._part, "predicts steps from a vector that is not there")
        codes = np.zeros(len(alive), dtype=np.int64)
        codes[alive] = self.vector(kind + bool(place), int(alive.sum()))
        if place:
            codes[alive] += earlier[place - 1][alive]
        self.steps.append(self._within(codes, 0, 255))
        return codes.astype(np.uint8)

    def finish(self) -> None:
        """Raise DamagedFile where more follows."""
        if not self._guarded(self._decoder.maybe_exhausted):
            raise DamagedFile(self._part, "holds more than its codes")

    def _within(self, codes: Vector, least: int, most: int) -> Vector:
        if codes.size and not least <= codes.min() <= codes.max() <= most:
            raise DamagedFile(self._part, f"a code is not within {least} to {most}")
        return codes

    def _guarded(self, call: Callable[[], Any]) -> Any:
        with refusing(DamagedFile(self._part, "entropy-coded data is malformed")):
            return call()


def _walk(writer: _Writer, scales: MatrixScales, with_contexts: bool) -> None:
    """Code one matrix, in the order in which `_Reader.matrix` reads it."""
    contexts = (scales.contexts.rows, scales.contexts.columns)
    alive = [codes != DEAD if with_contexts else np.ones(len(codes), dtype=np.bool_) for codes in contexts]
    if with_contexts:
        writer.vector(_CONTEXT_ROWS, contexts[0])
        writer.vector(_CONTEXT_COLUMNS, contexts[1])
    writer.steps_of(_ROWS, scales.steps.rows, alive[0])
    writer.steps_of(_COLUMNS, scales.steps.columns, alive[1])
    writer.vector(_TERMS, scales.terms)


def _categorical(frequencies: Vector) -> Any:
    likely = frequencies.astype(np.float64)
    return constriction.stream.model.Categorical(likely / float(frequencies.sum()), perfect=False)
