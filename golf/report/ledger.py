"""The ledger of a pack as tables: summary, bytes by part and by matrix, low-rank factors."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from golf.artifact.ledger import Ledger
from golf.packing.results import ClockLedger, PackResult, RateLedger
from golf.report.tables import percent, table


def pack_summary(result: PackResult) -> Table:
    """Size against the cap and loss against the float model."""
    made = table(f"packed {result.artifact}", "", "")
    total = result.size + result.code_bytes
    code = f" + {result.code_bytes:,} of code" if result.code_bytes else ""
    made.add_row("size", f"{result.size:,} bytes{code}, {percent(total, result.cap)} of the cap {result.cap:,}")
    made.add_row("bits per weight", f"{result.bits_per_weight:.3f} = {rate_terms(result.rate)}")
    made.add_row("bits per byte", f"{result.bpb:.4f} packed, {result.float_bpb:.4f} float")
    # the prediction does not include the gain of fine-tuning
    predicted = "" if result.tuned else f", {result.predicted_gap:.4f} predicted"
    made.add_row("loss gap", f"{result.loss - result.float_loss:+.4f} nats per token{predicted}")
    if result.rounded_training_gap is not None:
        kept = "fine-tuned" if result.tuned else "fine-tuning did not help"
        made.add_row(
            "on training text",
            f"{result.training_gap:+.4f} {kept}, {result.rounded_training_gap:+.4f} by rounding alone",
        )
    if result.factors:
        ranks = sum(entry.rank for entry in result.factors)
        saved = sum(entry.saved for entry in result.factors)
        matrices = "1 matrix" if len(result.factors) == 1 else f"{len(result.factors)} matrices"
        made.add_row("low rank", f"ranks of {ranks} in all, in {matrices}, save {saved:,} bytes at this step")
    tried = f"{result.probes} packs tried" if result.probes > 1 else "the first pack fits"
    made.add_row("time", f"{sum(result.seconds.values()):.1f} s, {tried}")
    if result.clock.max_seconds is not None and result.clock.counted is not None:
        made.add_row("clock", _clock(result.clock))
    return made


def rate_terms(rate: RateLedger) -> str:
    """The terms of RateLedger as text; they add up to the bits per weight."""
    above = {"coder": rate.coder, "side": rate.side}
    if rate.limit is None or rate.shaping is None:
        first = f"{rate.ideal:.3f} ideal code"
    else:
        first, above = f"{rate.limit:.3f} limit", {"shaping": rate.shaping} | above
    return first + "".join(f" {'-' if bits < 0 else '+'} {abs(bits):.3f} {name}" for name, bits in above.items())


def _clock(clock: ClockLedger) -> str:
    """The seconds that count against train.max_seconds, as text."""
    uses = {"training": clock.training}
    if clock.clock == "calibration":
        uses |= {"calibration": clock.calibration, "fine-tuning": clock.tuning, "measuring": clock.looks}
    total = f" = {clock.counted:.1f}" if len(uses) > 1 else ""
    state = "within" if clock.within else "over"
    return f"{' + '.join(f'{s:.1f} {use}' for use, s in uses.items())}{total} s, {state} {clock.max_seconds:g}"


def factor_tables(result: PackResult) -> list[Table]:
    """Rank, energy and saved bytes (against rank 0 at the same step) by matrix; no table without factors."""
    if not result.factors:
        return []
    made = table("low-rank factors", "matrix", "rank", "energy", "bytes saved")
    for entry in result.factors:
        made.add_row(entry.name, str(entry.rank), percent(entry.energy, 1.0), f"{entry.saved:,}")
    return [made]


def ledger_tables(ledger: Ledger) -> list[Table]:
    """Bytes by part, summing to the file, and by matrix."""
    parts = table("bytes by part", "part", "bytes", "share")
    for name, size in ledger.parts.items():
        parts.add_row(name, f"{size:,}", percent(size, ledger.total))
    parts.add_section()
    parts.add_row("total", f"{sum(ledger.parts.values()):,}", percent(sum(ledger.parts.values()), ledger.total))
    matrices = table("bytes by matrix", "matrix", "shape", "rank", "bits/weight", "bytes", "share")
    for entry in ledger.matrices:
        shape = "x".join(map(str, entry.shape))
        bits = f"{entry.bits_per_weight:.3f}"
        matrices.add_row(
            entry.name, shape, str(entry.rank), bits, f"{entry.bytes:,}", percent(entry.bytes, ledger.total)
        )
    return [parts, matrices]


def part_columns(parts: dict[str, int], names: Iterable[str]) -> list[str]:
    """Bytes of a matrix by kind of section, for the kinds that are named."""
    return [f"{parts.get(name, 0):,}" for name in names]
