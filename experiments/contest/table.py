"""The tables of README.md in Markdown, of the last line: `python -m experiments.contest.table [FILE...]`."""

from __future__ import annotations

from pathlib import Path

from experiments.estimates import mean_and_error
from experiments.markdown import markdown
from experiments.records import Record, print_tables


def tables(records: list[Record]) -> list[str]:
    """Bits per byte, sizes and seconds."""
    last = records[-1]
    bpb = [
        (what, *(f"{each:.4f}" for each in last[key]), mean_and_error(last[key]))
        for what, key in (("trained", "trained_bpb"), ("packed", "packed_bpb"))
    ]
    names = {
        "verified": "verified_bpb",
        "sliding, stride 64": "stride_64_bpb",
        "the export, where golf is not installed": "bare_bpb",
    }
    first = [(name, f"{last[key]:.4f}") for name, key in names.items()]
    sizes = [
        ("bytes, code included", f"{last['total']:,} of {last['cap']:,}"),
        ("code, compressed (plain)", f"{last['code_compressed']:,} ({last['code_plain']:,})"),
        ("preparing text", f"{last['prepare_mb_per_s']:.1f} MB/s"),
        ("rules that hold", f"{list(last['findings'].values()).count('PASS')} of {len(last['findings'])}"),
        ("rules that do not", ", ".join(f"{k}: {v}" for k, v in last["findings"].items() if v != "PASS")),
    ]
    seeds = (f"seed {number}" for number in range(1, len(last["trained_bpb"]) + 1))
    return [
        *markdown(("bits per byte", *seeds, "mean"), bpb),
        "",
        *markdown(("of the first seed", ""), first + sizes),
        "",
        *markdown(("step", "seconds"), last["seconds"].items()),
    ]


if __name__ == "__main__":
    print_tables(__doc__, Path(__file__).with_name("results.jsonl"), tables)
