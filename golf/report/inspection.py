"""An artifact's structure, without decoding a weight."""

from __future__ import annotations

from rich.table import Table

from golf.artifact import Artifact
from golf.artifact.ledger import TENSOR_PARTS, Ledger
from golf.report.ledger import part_columns
from golf.report.tables import percent, table


def inspection_table(artifact: Artifact, ledger: Ledger) -> list[Table]:
    """Header and claim; bytes by part; bytes by matrix."""
    manifest = artifact.manifest
    head = table(f"{artifact.path}", "", "")
    head.add_row("size", f"{artifact.size:,} bytes, {len(artifact.sections)} sections, all digests match")
    head.add_row("recipe", str(manifest.recipe.get("name", "-")))
    head.add_row("weights", f"{manifest.weights:,}")
    head.add_row("tokenizer", f"{manifest.tokenizer.kind}, {manifest.tokenizer.vocab_size:,} pieces")
    head.add_row("budget", f"its own cap {manifest.budget.cap:,}, code {manifest.budget.code_bytes:,} bytes")
    if (claim := manifest.claim) is not None:
        head.add_row("claimed, not checked here:", "golf verify measures it")
        head.add_row(
            "packed", f"{claim.bpb:.4f} bits per byte, {claim.val_loss:.4f} nats per token ± {claim.tolerance:g}"
        )
        head.add_row("float", f"{claim.float_bpb:.4f} bits per byte, {claim.float_val_loss:.4f} nats per token")
        restoring = f", {claim.restoring_bits:,} bits restore the text" if claim.restoring_bits else ""
        head.add_row(
            "measured on", f"{claim.tokens:,} tokens, {claim.bytes:,} bytes{restoring}, {claim.device} {claim.dtype}"
        )
    head.add_row("written by", ", ".join(f"{n} {v}" for n, v in [("golf", manifest.golf), *manifest.versions.items()]))
    parts = table("bytes by part", "part", "bytes", "share")
    for name, size in ledger.parts.items():
        parts.add_row(name, f"{size:,}", percent(size, ledger.total))
    held = [part for part in TENSOR_PARTS if any(part in entry.parts for entry in ledger.matrices)]
    matrices = table("bytes by matrix", "matrix", "shape", "rank", *held, "bits/w")
    for entry in ledger.matrices:
        shape = "x".join(map(str, entry.shape))
        matrices.add_row(
            entry.name, shape, str(entry.rank), *part_columns(entry.parts, held), f"{entry.bits_per_weight:.2f}"
        )
    return [head, parts, matrices]
