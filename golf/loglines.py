"""The lines of a training log that readers of the contest's logs expect: written and read here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_STEP = re.compile(r"step:(\d+)/(\d+)\s(.*)")
_PAIR = re.compile(r"(\w+):(-?[\d.]+(?:[eE][-+]?\d+)?|nan|inf)")
_SIZE = re.compile(r"(Serialized model|Code size|Total submission size)[^:\n]*: *([\d,]+) bytes", re.IGNORECASE)
_FINAL = re.compile(r"final\w*_exact\s(.*)")
_SEED = re.compile(r"\bseed\s*[:=]\s*(\d+)", re.IGNORECASE)
_STAGE = re.compile(r"(\w+)_time:([\d.]+)(ms|s)\b")


def step_line(record: dict[str, Any], total_steps: int | None) -> str:
    """One logged step, and what golf adds to it."""
    milliseconds = record["elapsed"] * 1000
    line = f"step:{record['step']}/{total_steps} train_loss:{record['train_loss']:.4f}"
    if "val_loss" in record:
        line += f" val_loss:{record['val_loss']:.4f} val_bpb:{record['val_bpb']:.4f}"
    if "predicted_bytes" in record and "cap" in record:
        line += f" packs_to:{record['predicted_bytes']:,}/{record['cap']:,}B"
        line += f" at {record['predicted_bits_per_weight']:.2f} bits (+{record['predicted_gap']:.4f})"
    line += f" train_time:{milliseconds:.0f}ms step_avg:{milliseconds / record['step']:.1f}ms"
    return line + f" tok/s:{record['tokens_per_s']:,}"


def size_lines(*, model: int, code: int) -> Iterator[str]:
    """Bytes of the artifact, of the script, and of both."""
    yield f"Serialized model golf: {model} bytes"
    yield f"Code size: {code} bytes"
    yield f"Total submission size golf: {model + code} bytes"


def final_line(*, loss: float, bpb: float, seconds: float) -> str:
    """What the model rebuilt from the file is worth; `seconds` is what measuring it took."""
    return f"final_golf_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f} eval_time:{1000 * seconds:.0f}ms"


def clock_line(seconds: dict[str, float]) -> str:
    """Seconds of each stage outside the training steps."""
    return "clock " + " ".join(f"{name.replace(' ', '_')}_time:{1000 * each:.0f}ms" for name, each in seconds.items())


@dataclass(frozen=True)
class LogFacts:
    """What a log says of one run; None for what it does not say. Times are in seconds."""

    seed: int | None = None
    steps: int = 0
    total_steps: int | None = None
    train_seconds: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """by serialized model, code size, total submission size; the last line of each counts"""
    stages: dict[str, float] = field(default_factory=dict)
    """by name of the stage"""

    @property
    def total_bytes(self) -> int | None:
        """The submission's size."""
        return self.sizes.get("total submission size")


def parse_log(text: str) -> LogFacts:
    """Read what the lines of a contest log say; unknown lines are passed over.

    Law: what `step_line`, `size_lines`, `final_line` and `clock_line` write is read back.
    """
    steps = [(int(match[1]), int(match[2]), dict(_PAIR.findall(match[3]))) for match in _STEP.finditer(text)]
    finals = [dict(_PAIR.findall(match[1])) for match in _FINAL.finditer(text)]
    measured = finals or [pairs for *_, pairs in steps if "val_bpb" in pairs]
    times = [float(pairs["train_time"]) / 1000 for *_, pairs in steps if "train_time" in pairs]
    seed = _SEED.search(text)
    last = measured[-1] if measured else {}
    stages = {m[1]: float(m[2]) / (1000 if m[3] == "ms" else 1) for m in _STAGE.finditer(text) if m[1] != "train"}
    return LogFacts(
        seed=None if seed is None else int(seed[1]),
        steps=max((step for step, *_ in steps), default=0),
        total_steps=steps[-1][1] if steps else None,
        train_seconds=max(times, default=None),
        val_loss=_number(last.get("val_loss")),
        val_bpb=_number(last.get("val_bpb")),
        sizes={match[1].lower(): int(match[2].replace(",", "")) for match in _SIZE.finditer(text)},
        stages=stages,
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
