"""Integers of matrices ↔ sections of a file.

Law: unpack_matrix(pack_matrices([matrix])) == matrix, except for context scales that no symbol is coded under.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from golf.artifact import compress_zstd
from golf.compress import entropy, trellis
from golf.compress.context_coder import (
    SECOND_GRID,
    Classes,
    Histogram,
    Reader,
    Tables,
    context_scale_classes,
    fits,
    residual_classes,
    scale_classes,
)
from golf.compress.context_scales import ContextScales
from golf.compress.decode_matrix import QuantizedMatrix
from golf.compress.low_rank import Factors
from golf.compress.quantize import StepCodes, Symbols
from golf.errors import DamagedFile

# codec, decoded size, payload
Payload = tuple[str, int, bytes]
# flat symbols (n,) and their classes (n,)
Part = tuple[Symbols, Classes]

CONDITIONAL = "conditional"
# The section that holds the distributions of all conditionally coded sections.
TABLES = "tables"
_LEVEL = 19
# Largest overall context scale, in step codes; the ratio of two float32 values stays within it.
_MOST_WHOLE = 1 << 12
# Largest context scale code of a row or column: it is a signed byte.
_MOST_CODE = 127


def pack_matrices(
    matrices: Sequence[QuantizedMatrix], *, coder: entropy.Coder
) -> tuple[Payload | None, list[dict[str, Payload]]]:
    """The tables that all matrices share, and the sections of each.

    A matrix has a section `scales`, then `left` and `right` where its rank is not 0, then `residual` unless it is zero.
    """
    if coder == "zstd":
        return None, [_sections(matrix, None, conditional_parts(matrix)) for matrix in matrices]
    histogram, parts = Histogram(), [conditional_parts(matrix) for matrix in matrices]
    for each in parts:
        for symbols, classes in each.values():
            if fits(symbols, classes):
                histogram.add(symbols, classes)
    content, tables = Tables.to_bytes(histogram), Tables.of(histogram)
    sections = [_sections(matrix, tables, each) for matrix, each in zip(matrices, parts, strict=True)]
    if not any(codec == CONDITIONAL for payloads in sections for codec, _, _ in payloads.values()):
        return None, sections
    return ("zstd", len(content), compress_zstd(content, _LEVEL)), sections


def unpack_matrix(
    name: str,
    shape: tuple[int, int],
    rank: int,
    *,
    step: float,
    factor_step: float,
    whole_scale: int,
    states: int,
    sections: Mapping[str, Payload],
    tables: Tables | None,
    even: bool = False,
) -> QuantizedMatrix:
    """Inverse of `pack_matrices` for one matrix; raises DamagedFile naming the section that cannot be decoded.

    `whole_scale` is the matrix's overall context scale; with `even`, rows and columns have no codes of their own.
    """
    if abs(whole_scale) > _MOST_WHOLE:
        raise DamagedFile("manifest", f"the spread of {name} is out of range")
    if states not in (0, *trellis.PARITY_CHECKS):
        raise DamagedFile("manifest", f"{name} has a trellis of {states} states, a number that has no code")
    M, N = shape
    reader = _SectionReader(name, sections, tables)
    steps, terms, scales = reader.scales(shape, rank, whole_scale, even=even)
    left = reader.symbols("left", M * rank).reshape(M, rank) if rank else np.empty((M, 0), dtype=np.int32)
    right = reader.symbols("right", rank * N).reshape(rank, N) if rank else np.empty((0, N), dtype=np.int32)
    residual = reader.residual(residual_classes(steps, scales), states) if "residual" in sections else None
    return QuantizedMatrix(name, shape, step, steps, Factors(left, right, factor_step, terms), residual, scales, states)


@dataclass(frozen=True)
class _SectionReader:
    """The sections of one matrix; every method raises DamagedFile naming the section that cannot be decoded."""

    name: str
    sections: Mapping[str, Payload]
    tables: Tables | None

    def scales(
        self, shape: tuple[int, int], rank: int, whole_scale: int, *, even: bool
    ) -> tuple[StepCodes, NDArray[np.uint8], ContextScales]:
        """Steps of rows and columns, codes of the factors' terms (rank,), and the context scales of the symbols."""
        M, N = shape
        even = even or self.sections.get("residual", ("",))[0] != CONDITIONAL
        classes = [scale_classes(M, N, rank)] + ([] if even else [context_scale_classes(M, N)])
        codes, row_column_codes = np.split(
            self.symbols("scales", sum(map(len, classes)), np.concatenate(classes)), [M + N + rank]
        )
        if codes.min() < 0 or codes.max() > 255:
            raise DamagedFile(self._where("scales"), "a scale code is not a byte")
        if row_column_codes.min(initial=0) < -_MOST_CODE or row_column_codes.max(initial=0) > _MOST_CODE:
            raise DamagedFile(self._where("scales"), "a context scale is out of range")
        rows, columns, terms = np.split(codes.astype(np.uint8), [M, M + N])
        whole = (
            ContextScales.even(whole_scale, shape)
            if even
            else ContextScales(whole_scale, *np.split(row_column_codes.astype(np.int8), [M]))
        )
        return StepCodes(rows, columns), terms, whole

    def residual(self, classes: Classes, states: int) -> Symbols:
        """Residual symbols (M, N) of classes (M, N)."""
        codec, size, payload = self._payload("residual")
        if codec == CONDITIONAL and states and self.tables is not None and size == 4 * classes.size:
            return _read_trellis(Reader(self.tables, payload, part=self._where("residual")), classes, states)
        return self.symbols("residual", classes.size, classes.reshape(-1)).reshape(classes.shape)

    def symbols(self, part: str, count: int, classes: Classes | None = None) -> Symbols:
        """The `count` symbols of a section, which are coded conditionally only where they have `classes`."""
        codec, size, payload = self._payload(part)
        if codec != CONDITIONAL:
            return entropy.decode(codec, payload, count=count, decoded_size=size, part=self._where(part))
        if classes is None or self.tables is None or size != 4 * count:
            raise DamagedFile(self._where(part), "cannot be coded conditionally")
        return self.tables.decode(payload, classes, part=self._where(part))

    def _payload(self, part: str) -> Payload:
        if part not in self.sections:
            raise DamagedFile(self._where(part), "is missing")
        return self.sections[part]

    def _where(self, part: str) -> str:
        return f"section {self.name}/{part}"


def conditional_parts(matrix: QuantizedMatrix) -> dict[str, Part]:
    """Flat symbols and classes of all conditionally coded parts: step codes, residual and its context scales."""
    codes = np.concatenate((matrix.steps.rows, matrix.steps.columns, matrix.factors.codes)).astype(np.int32)
    parts = {"scales": (codes, scale_classes(*matrix.shape, matrix.factors.rank))}
    if matrix.residual is not None:
        classes = residual_classes(matrix.steps, matrix.context_scales)
        if matrix.states:
            classes += SECOND_GRID * trellis.of(matrix.states).grids(matrix.residual)
        parts["residual"] = matrix.residual.reshape(-1), classes.reshape(-1)
        row_column_codes = np.concatenate((matrix.context_scales.rows, matrix.context_scales.columns)).astype(np.int32)
        parts["spreads"] = row_column_codes, context_scale_classes(*matrix.shape)
    return parts


def _sections(matrix: QuantizedMatrix, tables: Tables | None, parts: Mapping[str, Part]) -> dict[str, Payload]:
    """The sections of one matrix; by zstd alone where `tables` is None.

    Context scales follow the step codes where the residual is coded conditionally.
    """
    coder: entropy.Coder = "zstd" if tables is None else "best"
    scales, sections = [parts["scales"]], {}
    if matrix.factors.rank:
        sections["left"] = entropy.encode(matrix.factors.left, coder=coder)
        sections["right"] = entropy.encode(matrix.factors.right, coder=coder)
    if "residual" in parts:
        block = trellis.lanes(matrix.shape[0]) * matrix.shape[1] if matrix.states else None
        sections["residual"] = _section(*parts["residual"], tables, block=block)
        if sections["residual"][0] == CONDITIONAL:
            scales.append(parts["spreads"])
    symbols, classes = (np.concatenate(each) for each in zip(*scales, strict=True))
    return {"scales": _section(symbols, classes, tables)} | sections


def _section(symbols: Symbols, classes: Classes, tables: Tables | None, *, block: int | None = None) -> Payload:
    """Symbols coded under the shared tables; by zstd where there are none, or where a symbol is too large for them."""
    if tables is None or not fits(symbols, classes):
        return entropy.encode(symbols, coder="zstd")
    coded = tables.encode(symbols, classes, block=block)
    # zstd codes long runs of zeros better; it is slow, so it is tried only there.
    if len(coded) * 16 < symbols.size:
        other = entropy.encode(symbols, coder="zstd")
        if len(other[2]) < len(coded):
            return other
    return CONDITIONAL, symbols.size * 4, coded


def _read_trellis(reader: Reader, classes: Classes, states: int) -> Symbols:
    """Decode residual symbols (M, N) of classes (M, N): each step of the trellis gives the grid of the next symbols."""
    symbols = np.empty(classes.shape, dtype=np.int32)

    def read(rows: slice, grids: NDArray[np.uint8]) -> Symbols:
        symbols[rows] = reader.read((classes[rows] + SECOND_GRID * grids).reshape(-1)).reshape(grids.shape)
        return symbols[rows]

    trellis.of(states).walk(classes.shape[0], classes.shape[1], read)
    reader.finish()
    return symbols
