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
from golf.compress.scale_codes import (
    MatrixLayout,
    MatrixScales,
    pack_scales,
    plain_scales,
    split_scales,
    unpack_scales,
)
from golf.errors import DamagedFile

# codec, decoded size, payload
Payload = tuple[str, int, bytes]
# flat symbols (n,) and their classes (n,)
Part = tuple[Symbols, Classes]

CONDITIONAL = "conditional"
# The section that holds the distributions of all conditionally coded sections, and that of all codes of scales.
TABLES, SCALES = "tables", "scales"
_LEVEL = 19
# Largest overall context scale, in step codes; the ratio of two float32 values stays within it.
_MOST_WHOLE = 1 << 12
# Largest context scale code of a row or column: it is a signed byte.
_MOST_CODE = 127


@dataclass(frozen=True)
class Packed:
    """The sections of all matrices: `shared` by their names, and `own` of each matrix by its part."""

    shared: dict[str, Payload]
    own: list[dict[str, Payload]]


def pack_matrices(matrices: Sequence[QuantizedMatrix], *, coder: entropy.Coder) -> Packed:
    """The section `scales` of all matrices, `tables` where residuals are coded conditionally, and those of each.

    A matrix has the sections `left` and `right` where its rank is not 0, then `residual` unless it is zero.
    """
    scales = [MatrixScales.of(matrix) for matrix in matrices]
    if coder == "zstd":
        return Packed(
            {SCALES: entropy.encode(plain_scales(scales), coder="zstd")}, [_sections(m, None) for m in matrices]
        )
    histogram, residuals = Histogram(), [residual_part(matrix) for matrix in matrices]
    for part in residuals:
        if part is not None and fits(*part):
            histogram.add(*part)
    content, tables = Tables.to_bytes(histogram), Tables.of(histogram)
    own = [_sections(matrix, tables) for matrix in matrices]
    contextual = [each.get("residual", ("",))[0] == CONDITIONAL for each in own]
    shared = {TABLES: ("zstd", len(content), compress_zstd(content, _LEVEL))} if any(contextual) else {}
    known = [MatrixLayout.of(matrix, with_contexts) for matrix, with_contexts in zip(matrices, contextual, strict=True)]
    codes = "adaptive", 4 * sum(each.count for each in known), pack_scales(scales, contextual)
    return Packed({SCALES: codes} | shared, own)


def unpack_all_scales(
    layouts: Sequence[MatrixLayout], codec: str, decoded_size: int, payload: bytes
) -> list[MatrixScales]:
    """The codes of all matrices from the section `scales`; raises DamagedFile."""
    where, count = f"section {SCALES}", sum(each.count for each in layouts)
    if codec != "adaptive":
        codes = entropy.decode(codec, payload, count=count, decoded_size=decoded_size, part=where)
        return split_scales(codes, layouts, part=where)
    if decoded_size != 4 * count:
        raise DamagedFile(where, f"declares {decoded_size:,} bytes for {count:,} codes")
    return unpack_scales(payload, layouts, part=where)


def unpack_matrix(
    name: str,
    shape: tuple[int, int],
    rank: int,
    *,
    step: float,
    factor_step: float,
    states: int,
    scales: MatrixScales,
    sections: Mapping[str, Payload],
    tables: Tables | None,
) -> QuantizedMatrix:
    """Inverse of `pack_matrices` for one matrix; raises DamagedFile naming the section that cannot be decoded."""
    if abs(scales.contexts.whole) > _MOST_WHOLE:
        raise DamagedFile("manifest", f"the spread of {name} is out of range")
    if states not in (0, *trellis.PARITY_CHECKS):
        raise DamagedFile("manifest", f"{name} has a trellis of {states} states, a number that has no code")
    M, N = shape
    reader = _SectionReader(name, sections, tables)
    left = reader.symbols("left", M * rank).reshape(M, rank) if rank else np.empty((M, 0), dtype=np.int32)
    right = reader.symbols("right", rank * N).reshape(rank, N) if rank else np.empty((0, N), dtype=np.int32)
    classes = residual_classes(scales.steps, scales.contexts)
    residual = reader.residual(classes, states) if "residual" in sections else None
    factors = Factors(left, right, factor_step, scales.terms)
    return QuantizedMatrix(name, shape, step, scales.steps, factors, residual, scales.contexts, states)


def own_scales(name: str, layout: MatrixLayout, sections: Mapping[str, Payload], tables: Tables | None) -> MatrixScales:
    """The codes of a matrix that has a section of its own for them, as before version 8; raises DamagedFile.

    The codes of context scales are there where `layout.contextual`.
    """
    return _SectionReader(name, sections, tables).scales(layout)


@dataclass(frozen=True)
class _SectionReader:
    """The sections of one matrix; every method raises DamagedFile naming the section that cannot be decoded."""

    name: str
    sections: Mapping[str, Payload]
    tables: Tables | None

    def scales(self, layout: MatrixLayout) -> MatrixScales:
        """Steps of rows and columns, codes of the factors' terms (rank,), and the context scales of the symbols."""
        (M, N), rank, even = layout.shape, layout.rank, not layout.contextual
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
            ContextScales.even(layout.whole, layout.shape)
            if even
            else ContextScales(layout.whole, *np.split(row_column_codes.astype(np.int8), [M]))
        )
        return MatrixScales(StepCodes(rows, columns), terms, whole)

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


def residual_part(matrix: QuantizedMatrix) -> Part | None:
    """Flat residual symbols and their classes; None without a residual."""
    if matrix.residual is None:
        return None
    classes = residual_classes(matrix.steps, matrix.context_scales)
    if matrix.states:
        classes += SECOND_GRID * trellis.of(matrix.states).grids(matrix.residual)
    return matrix.residual.reshape(-1), classes.reshape(-1)


def _sections(matrix: QuantizedMatrix, tables: Tables | None) -> dict[str, Payload]:
    """The sections of one matrix; by zstd alone where `tables` is None."""
    coder: entropy.Coder = "zstd" if tables is None else "best"
    sections: dict[str, Payload] = {}
    if matrix.factors.rank:
        sections["left"] = entropy.encode(matrix.factors.left, coder=coder)
        sections["right"] = entropy.encode(matrix.factors.right, coder=coder)
    if (part := residual_part(matrix)) is not None:
        block = trellis.lanes(matrix.shape[0]) * matrix.shape[1] if matrix.states else None
        sections["residual"] = _section(*part, tables, block=block)
    return sections


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
