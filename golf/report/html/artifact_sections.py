"""Sections of a report about the packed file, from values to HTML; what is missing is said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from golf.artifact.ledger import Ledger
from golf.report.html import figures as of
from golf.report.html.data import Packed, RunData
from golf.report.html.markup import Markup, beside, folded, heading, paragraph, pictures, section, table
from golf.report.html.pictures import bits_picture, bytes_picture
from golf.report.html.sections import drawn, names
from golf.report.tables import percent

_UNPACKED = "not packed; golf pack makes the artifact."


def bits(runs: Sequence[RunData]) -> Markup:
    """Bits per weight of each matrix, the same colours for all runs."""
    ledgers = {name: run.ledger for name, run in zip(names(runs), runs, strict=True) if run.ledger is not None}
    values = [entry.bits_per_weight for ledger in ledgers.values() for entry in ledger.matrices] or [0.0]
    found = []
    for index, (name, ledger) in enumerate(ledgers.items()):
        picture = bits_picture(ledger, f"bits{index}", (min(values), max(values)))
        if picture is not None:
            found.append(replace(picture, title=name if len(runs) > 1 else picture.title))
    return drawn("The model in bits per weight", found, f"No picture: {_UNPACKED}", key="bits")


def byte_ledger(runs: Sequence[RunData]) -> Markup:
    """Every byte of the file: a treemap, a table by part, a table by matrix."""
    content: list[Markup] = []
    for index, (name, run) in enumerate(zip(names(runs), runs, strict=True)):
        content += [heading(name)] if len(runs) > 1 else []
        if (ledger := run.ledger) is None:
            content.append(paragraph(f"{name}: {_UNPACKED}"))
            continue
        if run.packed and run.written and run.packed.size != run.written.size:
            content.append(
                paragraph("ledger.json is of another pack than artifact.bin, whose bytes are shown: pack again.")
            )
        content.append(beside(pictures([bytes_picture(ledger, f"bytes{index}")]), _parts(ledger)))
        content.append(folded("Bytes by matrix", _matrices(ledger)))
    return section("Bytes of the file", *content, key="bytes")


def _parts(ledger: Ledger) -> Markup:
    rows = [[name, f"{size:,}", percent(size, ledger.total)] for name, size in ledger.parts.items()]
    return table(
        ["part", "bytes", "share"], [*rows, ["total", f"{ledger.total:,}", percent(ledger.total, ledger.total)]]
    )


def _matrices(ledger: Ledger) -> Markup:
    rows = [
        [
            entry.name,
            "x".join(map(str, entry.shape)),
            str(entry.rank),
            f"{entry.bits_per_weight:.3f}",
            f"{entry.bytes:,}",
            percent(entry.bytes, ledger.total),
        ]
        for entry in ledger.matrices
    ]
    return table(["matrix", "shape", "rank", "bits per weight", "bytes", "share"], rows)


def gaps(runs: Sequence[RunData]) -> Markup:
    """What packing cost: loss before and after, the methods that were tried, bits per weight by what they are for."""
    content: list[Markup] = []
    for name, run in zip(names(runs), runs, strict=True):
        content += [heading(name)] if len(runs) > 1 else []
        if run.packed is not None:
            content += _gap_tables(run.packed)
        elif run.written is not None:
            content.append(paragraph(f"{name}: no ledger.json beside the artifact."))
        else:
            content.append(paragraph(f"{name}: {_UNPACKED}"))
    return section("What packing cost", *content, key="gaps")


def _gap_tables(packed: Packed) -> list[Markup]:
    gap = None if packed.loss is None or packed.float_loss is None else packed.loss - packed.float_loss
    predicted = [] if packed.tuned else [["gap predicted from Fisher information", of.signed(packed.predicted_gap)]]
    tuned = packed.rounded_training_gap is not None
    rows = [
        ["float loss, on validation text", of.decimal(packed.float_loss)],
        [
            "gap after rounding, on training text",
            of.signed(packed.rounded_training_gap if tuned else packed.training_gap),
        ],
        *([["gap as kept, on training text", of.signed(packed.training_gap)]] if tuned else []),
        ["packed loss, on validation text", of.decimal(packed.loss)],
        ["gap, on validation text", of.signed(gap)],
        *predicted,
    ]
    made = [beside(table(["loss", "nats per token"], rows), _rate(packed))]
    if packed.candidates:
        made.append(_candidates(packed))
    if packed.factors:
        made.append(
            table(
                ["low-rank factors", "rank", "energy", "bytes saved"],
                [[e.name, str(e.rank), percent(e.energy, 1.0), f"{e.saved:,}"] for e in packed.factors],
            )
        )
    return made


def _candidates(packed: Packed) -> Markup:
    rows = [
        [
            each.method,
            "kept" if each.kept else "",
            of.whole(each.size),
            of.signed(each.training_gap),
            of.decimal(each.seconds, 1),
            each.reason or "",
        ]
        for each in packed.candidates
    ]
    return table(["method", "", "bytes", "gap (nats per token)", "seconds", "why it was not tried"], rows, wide=5)


# The terms of a RateLedger that add up to the bits per weight, and what they are.
_RATE = {
    "limit": "rate-distortion limit",
    "shaping": "above the limit: scalar quantization",
    "coder": "entropy coder and its tables",
    "side": "step codes, context scales, factors",
}


def _rate(packed: Packed) -> Markup:
    terms = dict(_RATE)
    if "limit" not in packed.rate or "shaping" not in packed.rate:
        terms = {"ideal": "entropy of the symbols", "coder": terms["coder"], "side": terms["side"]}
    rows = [[words, f"{packed.rate[key]:.3f}"] for key, words in terms.items() if key in packed.rate]
    if not rows:
        return Markup("")
    return table(["bits per weight", "bits"], [*rows, ["all of it", of.decimal(packed.bits_per_weight, 3)]])


def claims(runs: Sequence[RunData]) -> Markup:
    """What each artifact says of itself."""
    content: list[Markup] = []
    for name, run in zip(names(runs), runs, strict=True):
        content += [heading(name)] if len(runs) > 1 else []
        if run.written is None:
            content.append(
                paragraph(f"{name}: {_UNPACKED}" if run.packed is None else f"{name}: no artifact.bin here.")
            )
        elif (claim := run.written.claim) is None:
            content.append(paragraph(f"{name}: the artifact claims nothing."))
        else:
            rows = [
                ["bits per byte, packed", f"{claim.bpb:.6f}"],
                ["loss, packed", f"{claim.val_loss:.6f} ± {claim.tolerance:g} nats per token"],
                ["bits per byte, float", f"{claim.float_bpb:.6f}"],
                ["loss, float", f"{claim.float_val_loss:.6f} nats per token"],
                ["measured on", f"{claim.tokens:,} tokens, {claim.bytes:,} bytes of text"],
                *([["restoring the text", f"{claim.restoring_bits:,} bits"]] if claim.restoring_bits else []),
                ["by", f"{claim.device}, {claim.dtype}"],
                ["SHA-256 of the text", claim.text_sha256],
            ]
            content.append(table(["", ""], rows, wide=1))
    words = paragraph("Claimed by the artifact, not checked here; golf verify measures it.")
    any_claim = any(run.written and run.written.claim for run in runs)
    return section("The claim", *([words] if any_claim else []), *content, key="claim")
