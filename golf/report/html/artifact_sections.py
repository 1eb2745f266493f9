"""Sections of a report about the packed file, from values to HTML; what is missing is said in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from golf.artifact import Claim
from golf.artifact.ledger import Ledger
from golf.report import run_figures as of
from golf.report.html.markup import Markup, beside, folded, heading, paragraph, pictures, section, table
from golf.report.html.pictures import bits_picture, bytes_picture
from golf.report.html.sections import drawn, names
from golf.report.run_data import Packed, RunData
from golf.report.tables import percent


def packed_file(runs: Sequence[RunData]) -> list[Markup]:
    """All sections below, or one with one sentence where no run is packed."""
    if not any(run.packed or run.written for run in runs):
        return [section("The packed file", paragraph("Not packed: golf pack makes the artifact."), key="bytes")]
    return [bits(runs), byte_ledger(runs), gaps(runs), claims(runs)]


def bits(runs: Sequence[RunData]) -> Markup:
    """Bits per weight of each matrix, the same colours for all runs."""
    ledgers = {name: run.ledger for name, run in zip(names(runs), runs, strict=True) if run.ledger is not None}
    values = [entry.bits_per_weight for ledger in ledgers.values() for entry in ledger.matrices] or [0.0]
    found = []
    for index, (name, ledger) in enumerate(ledgers.items()):
        picture = bits_picture(ledger, f"bits{index}", (min(values), max(values)))
        if picture is not None:
            found.append(replace(picture, title=name if len(runs) > 1 else ""))
    return drawn("The model in bits per weight", found, "No matrix is in a ledger.", key="bits", large=True)


def byte_ledger(runs: Sequence[RunData]) -> Markup:
    """Every byte of the file: a treemap, a table by part, a table by matrix."""

    def content(index: int) -> Markup | None:
        run = runs[index]
        if (ledger := run.ledger) is None:
            return None
        warning = Markup("")
        if run.packed and run.written and run.packed.size != run.written.size:
            warning = paragraph("ledger.json is of another pack than artifact.bin, whose bytes these are: pack again.")
        tree = pictures([bytes_picture(ledger, f"bytes{index}")], large=True)
        return Markup(warning + beside(tree, _parts(ledger)) + folded("Bytes by matrix", _matrices(ledger)))

    return _by_run("Bytes of the file", runs, content, key="bytes")


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

    def content(index: int) -> Markup | None:
        run = runs[index]
        if run.packed is not None:
            return Markup("".join(_gap_tables(run.packed)))
        return None if run.written is None else paragraph("There is no ledger.json beside the artifact.")

    return _by_run("What packing cost", runs, content, key="gaps")


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

    def content(index: int) -> Markup | None:
        written = runs[index].written
        if written is None:
            return None if runs[index].packed is None else paragraph("There is no artifact.bin beside ledger.json.")
        return paragraph("The artifact claims nothing.") if written.claim is None else _claim(written.claim)

    return _by_run("The claim", runs, content, key="claim")


def _claim(claim: Claim) -> Markup:
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
    words = paragraph("Claimed by the artifact, not checked here; golf verify measures it.")
    return Markup(words + table(["", ""], rows, wide=1))


def _by_run(title: str, runs: Sequence[RunData], content: Callable[[int], Markup | None], *, key: str) -> Markup:
    """A section with the content of each run, by its index; runs without any are named in one sentence."""
    made: list[Markup] = []
    lacking: list[str] = []
    for index, name in enumerate(names(runs)):
        if (found := content(index)) is None:
            lacking.append(name)
        else:
            made += [heading(name)] if len(runs) > 1 else []
            made.append(found)
    if lacking:
        made.append(paragraph(f"Not packed: {', '.join(lacking)}; golf pack makes the artifact."))
    return section(title, *made, key=key)
