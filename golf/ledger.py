"""Where the bytes of an artifact are. Knows the file's parts, not torch: inspection stays instant."""

from __future__ import annotations

from golf.artifact import Artifact
from golf.results import Ledger, MatrixEntry

_FIXED = {"small": "small tensors"}


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
