"""RunState: the state of a training that a checkpoint stores besides its tensors, converted to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from golf.errors import DamagedCheckpoint

# Keys that every reader needs; files of golf 0.1 may lack the others.
_NEEDED = ("recipe", "step", "text")


@dataclass(frozen=True)
class RunState:
    """The state of a training after `step` steps. Field names are the keys in the file: they stay."""

    step: int
    recipe: dict[str, Any]
    """The resolved recipe, every default written out."""
    text: str
    """Fingerprint of the text and of the tokenizer."""
    elapsed: float = 0.0
    """Seconds of training; 0 for imported weights."""
    reserved: float = 0.0
    """Seconds of train.max_seconds left to packing."""
    tokenizer_kind: str = ""
    vocab_size: int = 0
    threads: int = 1
    processes: int = 1
    device: str = "cpu"
    matmul_dtype: str | None = None
    """Dtype of the optimizer's matrix products; None in files that are older than the key."""

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values, for `golf.run.checkpoint.save_checkpoint`."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def of(cls, state: Mapping[str, Any], *, source: str) -> Self:
        """Read the state of a checkpoint; raises DamagedCheckpoint naming `source` for a missing key or a wrong type.

        Keys that this version does not know are ignored: another release may have written them.
        """
        if missing := [key for key in _NEEDED if key not in state]:
            raise DamagedCheckpoint(source, f"lacks {', '.join(sorted(missing))}: another release wrote it")
        known = {name: state[name] for name in cls.__dataclass_fields__ if name in state}
        for name, value in known.items():
            if not isinstance(value, _TYPES[name]):
                raise DamagedCheckpoint(source, f"its {name} is no {_TYPES[name][-1].__name__}")
        return cls(**known)


_TYPES: dict[str, tuple[type, ...]] = {
    "step": (int,),
    "recipe": (dict,),
    "text": (str,),
    "elapsed": (int, float),
    "reserved": (int, float),
    "tokenizer_kind": (str,),
    "vocab_size": (int,),
    "threads": (int,),
    "processes": (int,),
    "device": (str,),
    "matmul_dtype": (str,),
}
