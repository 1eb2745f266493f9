"""Section: the pydantic base model of every recipe section (frozen, no unknown keys, finite), and types of its keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from golf.runtime.byte_sizes import parse_size


def refuse(*mistakes: tuple[object, str]) -> None:
    """Raise ValueError with every sentence whose condition holds."""
    if found := [sentence for holds, sentence in mistakes if holds]:
        raise ValueError("; ".join(found))


def _size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _no_zero_byte(value: str) -> str:
    if "\0" in value:
        raise ValueError("must be a path, without zero bytes")
    return value


PathText = Annotated[str, AfterValidator(_no_zero_byte)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0, le=1 << 40)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Tokens = Literal["auto"] | Annotated[int, Field(ge=0, le=1 << 40)]
Strength = Literal["auto"] | Annotated[float, Field(ge=0, le=1e3)]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base model of a section: frozen, strict types, no unknown keys, no infinite or NaN numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
