"""RunState: the state of a training that a checkpoint stores besides its tensors, converted to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from golf.errors import DamagedCheckpoint, RecipeError
from golf.recipe import Recipe, recipe_from_dict

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
        if missing := [key for key in _NEEDED if state.get(key) is None]:
            raise DamagedCheckpoint(source, f"lacks {', '.join(sorted(missing))}: another release wrote it")
        known = {name: state[name] for name in cls.__dataclass_fields__ if state.get(name) is not None}
        for name, value in known.items():
            if not _is_sound(name, value):
                raise DamagedCheckpoint(source, f"its {name} is {str(value)[:40]}, which no training leaves")
        return cls(**known)


def recipe_of(state: RunState, *, source: str) -> Recipe:
    """The recipe in a checkpoint's state; raises DamagedCheckpoint naming `source` for one that no training leaves."""
    try:
        return recipe_from_dict(state.recipe, source="its recipe")
    except RecipeError as error:
        raise DamagedCheckpoint(source, error.mistakes[0]) from None


_NUMBERS = {"step": int, "vocab_size": int, "threads": int, "processes": int, "elapsed": float, "reserved": float}
# Seconds and counts beyond this are no training's; float and int64 hold them.
_MOST = 1 << 62


def _is_sound(name: str, value: Any) -> bool:
    """Whether a value of the file is one that a field can have."""
    if (kind := _NUMBERS.get(name)) is not None:
        plain = type(value) is int or (kind is float and type(value) is float)
        return plain and 0 <= value <= _MOST
    if name == "matmul_dtype":
        return value in ("float32", "bfloat16")
    return isinstance(value, dict if name == "recipe" else str)
