"""Write and parse the lines of a training log in the contest's form."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Every repeat is bounded and longer lines are skipped, since a log may be hostile.
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
# Stages of a pack's clock between training and evaluation.
CLOCK_STAGES = ("calibration", "tuning", "looks", "packing")
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0}


def step_line(record: dict[str, Any], total_steps: int | None) -> str:
    """The line of one logged step, with golf's own fields added."""
    milliseconds = record["elapsed"] * 1000
    line = f"step:{record['step']}/{total_steps} train_loss:{record['train_loss']:.4f}"
    if "val_loss" in record:
        line += f" val_loss:{record['val_loss']:.4f} val_bpb:{record['val_bpb']:.4f}"
    if "predicted_bytes" in record and "cap" in record:
        line += f" packs_to:{record['predicted_bytes']:,}/{record['cap']:,}B"
        line += f" at {record['predicted_bits_per_weight']:.2f} bits (+{record['predicted_gap']:.4f})"
    if "rate_penalty" in record:
        line += f" rate_penalty:{record['rate_penalty']:.4f}"
    line += f" train_time:{milliseconds:.0f}ms step_avg:{milliseconds / record['step']:.1f}ms"
    return line + f" tok/s:{record['tokens_per_s']:,}"


def size_lines(*, model: int, code: int) -> Iterator[str]:
    """Bytes of the artifact, of the script, and of both."""
    yield f"Serialized model golf: {model} bytes"
    yield f"Code size: {code} bytes"
    yield f"Total submission size golf: {model + code} bytes"


def final_line(*, loss: float, bpb: float, seconds: float) -> str:
    """The loss of the model rebuilt from the file; `seconds` is the time of the measurement."""
    return f"final_golf_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f} eval_time:{1000 * seconds:.0f}ms"


def clock_line(seconds: Mapping[str, float]) -> str:
    """Seconds of each stage after the training, under the names of the pack's clock."""
    return "clock " + " ".join(f"{name.replace(' ', '_')}_time:{1000 * each:.0f}ms" for name, each in seconds.items())


@dataclass(frozen=True)
class LogFacts:
    """Values parsed from the log of one run; None where the log lacks one. Times are in seconds."""

    seed: int | None = None
    steps: int = 0
    total_steps: int | None = None
    train_seconds: float | None = None
    step_seconds: float | None = None
    val_loss: float | None = None
    val_bpb: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes by "serialized model", "code size" and "total submission size"; the last line of each counts."""
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by name of the stage."""

    @property
    def known(self) -> bool:
        """Whether the log has any line of a training."""
        return bool(self.steps) or self.val_bpb is not None

    @property
    def total_bytes(self) -> int | None:
        """Bytes of the submission, as logged."""
        return self.sizes.get("total submission size")


def parse_log(text: str) -> LogFacts:
    """Parse the lines of a contest log; unknown lines are ignored.

    The losses are those of the last final line, else of the last step that has them. Law: values written by
    `step_line`, `size_lines`, `final_line` and `clock_line` are read back.
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
    """Put steps, times, sizes and the seed of one line into `found`."""
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
