"""Section: the pydantic base model of every recipe section (frozen, no unknown keys, finite), and types of its keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from golf.recipe.toml import show
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


def _or_auto(kinds: tuple[type, ...], most: float, what: str) -> BeforeValidator:
    """One sentence for a value that is neither "auto" nor a number of 0 to `most`; a union would give one a member."""

    def check(value: object) -> object:
        if value == "auto" or (type(value) in kinds and 0 <= value <= most):  # type: ignore[operator]
            return value
        raise ValueError(f'must be {what} of 0 to {most:,}, or "auto", got {show(value)}')

    return BeforeValidator(check)


PathText = Annotated[str, AfterValidator(_no_zero_byte)]
Size = Annotated[int, BeforeValidator(_size), Field(gt=0, le=1 << 40)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Tokens = Annotated[Literal["auto"] | int, _or_auto((int,), 1 << 40, "a whole number")]
Strength = Annotated[Literal["auto"] | float, _or_auto((int, float), 1000, "a number")]
Beta = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Base model of a section: frozen, strict types, no unknown keys, no infinite or NaN numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
