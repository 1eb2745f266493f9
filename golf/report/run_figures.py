"""The figures of a run as text: those of the head, and what a table shows beside another run's."""

from __future__ import annotations

from golf.report.run_data import RunData
from golf.report.tables import percent

_NONE = "-"


def figures(run: RunData) -> dict[str, str]:
    """Every figure of the head by its name; the same names for every run, `-` for what is not known."""
    trained, packed, written = run.trained, run.packed, run.written
    claim = written.claim if written else None
    steps = trained.steps if trained else None
    return {
        "recipe": str(run.recipe.get("name", _NONE)),
        "packed by": f"golf {written.golf}" if written else _NONE,
        "state": _state(run),
        "steps": whole(steps if steps is not None else run.metrics.last_step or None),
        "tokens": whole(tokens(run)),
        "parameters": whole(parameters(run)),
        "tokens per parameter": _ratio(tokens(run), parameters(run)),
        "loss, float (nats per token)": decimal(
            _first(trained.val_loss if trained else None, packed.float_loss if packed else None)
        ),
        "loss, packed (nats per token)": decimal(
            _first(packed.loss if packed else None, claim.val_loss if claim else None)
        ),
        "bits per byte, float": decimal(float_bpb(run)),
        "bits per byte, packed": decimal(packed_bpb(run)),
        "bits per byte, xz -9e": decimal(trained.xz_bpb if trained else None),
        "bits per weight": decimal(packed.bits_per_weight if packed else None, 3),
        "file (bytes)": whole(size(run)),
        "cap (bytes)": whole(cap(run)),
        "file and code of the cap": share(run),
        "training time (s)": decimal(trained.seconds if trained else None, 0),
    }


def leading(run: RunData) -> list[tuple[str, str, str]]:
    """The figures that are read first: name, value, remark."""
    found = []
    best, other = packed_bpb(run), float_bpb(run)
    if best is not None:
        found.append(("bits per byte, packed", f"{best:.4f}", f"{decimal(other)} before packing"))
    elif other is not None:
        found.append(("bits per byte, float", f"{other:.4f}", "not packed"))
    if size(run) is not None:
        found.append(("file", whole(size(run)), f"bytes, {share(run)} of the cap {whole(cap(run))}"))
    if parameters(run):
        found.append(("parameters", short(parameters(run)), f"{figures(run)['bits per weight']} bits per weight"))
        if size(run) is None:
            found[-1] = (*found[-1][:2], whole(parameters(run)))
    if tokens(run):
        ratio = _ratio(tokens(run), parameters(run))
        found.append(("tokens", short(tokens(run)), f"{ratio} per parameter"))
    return found


def training(run: RunData) -> str:
    """How far the training has come: trained, interrupted (or still running), or imported, which has none."""
    if run.trained is not None:
        return "trained"
    return "interrupted" if run.metrics.last_step else "imported"


def _state(run: RunData) -> str:
    said = {"trained": "trained", "interrupted": "training has not ended", "imported": "no training recorded"}
    packed = run.written is not None or run.packed is not None
    return "packed" if packed else f"{said[training(run)]}, not packed"


def tokens(run: RunData) -> int | None:
    """Tokens trained on, so far where the training has not ended."""
    if run.trained is not None and run.trained.tokens is not None:
        return run.trained.tokens
    curve = run.metrics.curves.get("train_loss")
    return int(curve[-1][0]) if curve else None


def parameters(run: RunData) -> int | None:
    """Parameters of the model."""
    return _count(run.trained.parameters if run.trained else None, run.written.weights if run.written else None)


def float_bpb(run: RunData) -> float | None:
    """Bits per byte of the finished float model."""
    claim = run.written.claim if run.written else None
    return _first(
        run.packed.float_bpb if run.packed else None,
        run.trained.val_bpb if run.trained else None,
        claim.float_bpb if claim else None,
    )


def packed_bpb(run: RunData) -> float | None:
    """Bits per byte of the packed model."""
    claim = run.written.claim if run.written else None
    return _first(run.packed.bpb if run.packed else None, claim.bpb if claim else None)


def size(run: RunData) -> int | None:
    """Bytes of the artifact."""
    return _count(run.written.size if run.written else None, run.packed.size if run.packed else None)


def cap(run: RunData) -> int | None:
    """The cap of the pack, else the recipe's."""
    asked = run.recipe.get("budget.cap")
    return _count(
        run.written.cap if run.written else None,
        run.packed.cap if run.packed else None,
        asked if type(asked) is int and 0 < asked < 1 << 40 else None,
    )


def share(run: RunData) -> str:
    """The part of the cap that artifact and code take."""
    code = run.written.code_bytes if run.written else run.packed.code_bytes if run.packed else 0
    held, most = size(run), cap(run)
    return _NONE if held is None or not most else percent(held + code, most)


def decimal(value: float | None, digits: int = 4) -> str:
    """A number with this many decimals."""
    return _NONE if value is None else f"{value:,.{digits}f}"


def signed(value: float | None) -> str:
    """A gap in nats per token, with its sign."""
    return _NONE if value is None else f"{value:+.4f}"


def whole(value: int | None) -> str:
    """A count, with commas."""
    return _NONE if value is None else f"{value:,}"


def short(value: int | None) -> str:
    """A count with three digits: 590k, 1.64M."""
    if value is None:
        return _NONE
    for power, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= power:
            return f"{value / power:.3g}{letter}" if value < 999.5 * power else f"{value / power:,.0f}{letter}"
    return str(value)


def _ratio(some: int | None, others: int | None) -> str:
    return _NONE if some is None or not others else f"{some / others:,.2f}"


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _count(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
