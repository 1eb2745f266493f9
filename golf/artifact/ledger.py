"""Where the bytes of an artifact are. Knows the file's parts, not torch: inspection stays instant."""

from __future__ import annotations

from dataclasses import dataclass, field

from golf.artifact.read import Artifact

# Sections of one matrix, by what follows its name; from version 8 on the scales of all have one section.
TENSOR_PARTS = ("left", "right", "residual", "scales")

_FIXED = {"small": "small tensors"}


@dataclass(frozen=True)
class MatrixEntry:
    """One matrix in the ledger; `parts` holds bytes by left, right, residual, and before version 8 scales."""

    name: str
    shape: tuple[int, ...]
    rank: int
    bits_per_weight: float
    parts: dict[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of all its sections."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Ledger:
    """Where every byte of an artifact went; `parts` sums exactly to `total`, the size of the file."""

    total: int
    parts: dict[str, int]
    matrices: list[MatrixEntry] = field(default_factory=list)


def artifact_ledger(artifact: Artifact) -> Ledger:
    """Bytes by part, summing exactly to the size of the file, and by matrix."""
    totals: dict[str, int] = {}
    by_matrix: dict[str, dict[str, int]] = {}
    for name, size in artifact.parts():
        owner, slash, part = name.partition("/")
        key = part if slash else _FIXED.get(name, name)
        totals[key] = totals.get(key, 0) + size
        if slash:
            by_matrix.setdefault(owner, {})[part] = size
    matrices = [
        MatrixEntry(t.name, t.shape, t.rank, 8 * sum(parts.values()) / t.weights, parts)
        for t in artifact.manifest.tensors
        if t.kind == "matrix" and (parts := by_matrix.get(t.name, {})) is not None
    ]
    return Ledger(total=artifact.size, parts=totals, matrices=matrices)
