"""A finished training as a table."""

from __future__ import annotations

from rich.table import Table

from golf.report.tables import table
from golf.training.results import TrainResult


def training_table(result: TrainResult) -> Table:
    """Size, time and losses of a finished training, before packing."""
    made = table(f"trained {result.run}", "", "")
    made.add_row("parameters", f"{result.parameters:,}")
    made.add_row("steps, tokens", f"{result.steps:,}, {result.tokens:,}")
    reserved = f", {result.reserved_seconds:.1f} s left to packing" if result.reserved_seconds else ""
    made.add_row("training time", f"{result.seconds:.1f} s{reserved}")
    made.add_row("validation loss", f"{result.val_loss:.4f} nats per token")
    made.add_row("bits per byte", f"{result.val_bpb:.4f}")
    made.add_row("xz -9e on the same text", f"{result.xz_bpb:.4f}")
    made.add_row("scored", f"{result.val_tokens:,} tokens, {result.val_bytes:,} bytes")
    made.add_row("predicted artifact", f"{result.predicted_bytes:,} bytes")
    return made
