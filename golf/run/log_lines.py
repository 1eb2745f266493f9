"""The lines of a training log that readers of the contest's logs expect: written and read here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Every repeat is bounded and lines are cut: a log may be anybody's.
_LONGEST_LINE = 2000
_PAIR = re.compile(
    r"\b(\w{1,40}):\s?(-?\d{1,12}(?:\.\d{1,15})?(?:e[-+]?\d{1,3})?|nan|inf)(ms|s|m)?(?![\w.])", re.IGNORECASE
)
_STEP = re.compile(r"\s*(?:step:\s?)?(\d{1,9})/(\d{1,9})\s")
_SIZE = re.compile(
    r"(Serialized model|Code size|Total submission size)[^:]{0,80}:\s?([\d,]{1,20}) bytes", re.IGNORECASE
)
_FINAL = re.compile(r"\s*(?:\w{1,60}_exact|quantized\w{0,60})\b")
_SEED = re.compile(r"\bseed\s?[:=]\s?(\d{1,12})\b", re.IGNORECASE)
# What a pack's clock counts behind the training and before the evaluation.
CLOCK_STAGES = ("calibration", "tuning", "looks", "packing")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0}


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


def clock_line(seconds: Mapping[str, float]) -> str:
    """Seconds of each stage behind the training: those of a pack's clock, named as they are counted."""
    return "clock " + " ".join(f"{name.replace(' ', '_')}_time:{1000 * each:.0f}ms" for name, each in seconds.items())


@dataclass(frozen=True)
class LogFacts:
    """What a log says of one run; None for what it does not say. Times are in seconds."""

    seed: int | None = None
    steps: int = 0
    total_steps: int | None = None
    train_seconds: float | None = None
    step_seconds: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """by serialized model, code size, total submission size; the last line of each counts"""
    stages: dict[str, float] = field(default_factory=dict)
    """by name of the stage"""

    @property
    def known(self) -> bool:
        """Whether it says anything of a training."""
        return bool(self.steps) or self.val_bpb is not None

    @property
    def total_bytes(self) -> int | None:
        """The submission's size."""
        return self.sizes.get("total submission size")


def parse_log(text: str) -> LogFacts:
    """Read what the lines of a contest log say; unknown lines are passed over.

    The losses are those of the last final line, else of the last step that has them. Law: what `step_line`,
    `size_lines`, `final_line` and `clock_line` write is read back.
    """
    found: dict[str, Any] = {"sizes": {}, "stages": {}}
    measured: tuple[float | None, float | None] | None = None
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE or (":" not in line and "=" not in line and "/" not in line):
            continue
        pairs = {key.lower(): (float(value), unit) for key, value, unit in _PAIR.findall(line)}
        _note_line(line, pairs, found)
        losses = (pairs.get("val_loss", (None,))[0], pairs.get("val_bpb", (None,))[0])
        if "val_bpb" in pairs and _FINAL.match(line):
            measured = losses
        elif "val_bpb" in pairs and measured is None:
            found["val_loss"], found["val_bpb"] = losses
    if measured is not None:
        found["val_loss"], found["val_bpb"] = measured
    return LogFacts(**found)


def _note_line(line: str, pairs: dict[str, tuple[float, str]], found: dict[str, Any]) -> None:
    """Put what one line says of steps, times, sizes and the seed into `found`."""
    if (step := _STEP.match(line)) is not None and pairs:
        found["steps"] = max(found.get("steps", 0), int(step[1]))
        found["total_steps"] = int(step[2])
    for key, (value, unit) in pairs.items():
        seconds = value * _SECONDS.get(unit.lower(), 1e-3)
        if key == "train_time":
            found["train_seconds"] = max(found.get("train_seconds", 0.0), seconds)
        elif key == "step_avg":
            found["step_seconds"] = seconds
        elif key.endswith("_time") and unit:
            found["stages"][key.removesuffix("_time")] = seconds
    for size in _SIZE.finditer(line):
        digits = size[2].replace(",", "")
        if digits:
            found["sizes"][size[1].lower()] = int(digits)
    if "seed" not in found and (seed := _SEED.search(line)) is not None:
        found["seed"] = int(seed[1])
