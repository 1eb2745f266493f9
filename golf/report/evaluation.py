"""A measurement as a table."""

from __future__ import annotations

from rich.table import Table

from golf.evaluation.results import Evaluation
from golf.report.tables import table


def evaluation_table(result: Evaluation) -> Table:
    """Bits per byte, and all values that it was computed from."""
    model = result.model
    floats = model.is_dir() or model.suffix == ".safetensors"
    made = table(f"measured {model}{', before packing' if floats else ''}", "", "")
    made.add_row("text", result.text)
    windows = f"{result.window} tokens"
    made.add_row("windows", f"{windows}, each scoring its last {result.stride}" if result.stride else windows)
    if result.reset:
        made.add_row("context", f"starts anew at each of {result.documents:,} documents")
    made.add_row("nats per token", f"{result.loss:.6f}")
    if result.bpb is None or result.bytes is None:
        made.add_row("bits per byte", "unknown: these shards have no tokenizer beside them (--tokenizer)")
        made.add_row("scored", f"{result.tokens:,} tokens")
    else:
        made.add_row("bits per byte", f"{result.bpb:.6f}")
        if result.restoring_bits:
            made.add_row("the contest's number", f"{result.contest_bpb:.6f}, which leaves out the next line")
            made.add_row("restoring the text", f"{result.restoring_bits:,} bits, which the tokens do not hold")
        made.add_row("scored", f"{result.tokens:,} tokens, {result.bytes:,} bytes")
        if result.counted_by:
            made.add_row("bytes counted by", result.counted_by)
    made.add_row("time", f"{result.seconds:.1f} s, {result.tokens / max(result.seconds, 1e-9):,.0f} tokens/s")
    return made
