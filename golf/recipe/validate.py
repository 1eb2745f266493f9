"""Validate plain values as a frozen pydantic model; report all mistakes at once, each with its address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from golf.errors import RecipeError
from golf.recipe.toml import MAX_DEPTH, printable, show

M = TypeVar("M", bound=BaseModel)
Address = tuple[int | str, ...]

# More would hide the first ones and take seconds: a file of 64 kB can have thousands of unknown keys.
MAX_MISTAKES = 50

_WANTED = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "finite_number": "must be finite",
    "model_type": "must be a section",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def validate(
    model: type[M], document: Mapping[str, Any], *, source: str, settings: Mapping[Address, str] | None = None
) -> M:
    """`document` as a `model`, or RecipeError with every mistake.

    An address begins with `source`, or with the `--set` text in `settings` that set the value.
    """
    refused: dict[Address, str] = {}
    plain = _plain(document, (), refused)
    found = list(refused.items())[:MAX_MISTAKES]
    try:
        valid = model.model_validate(plain)
    except ValidationError as error:
        errors = [e for e in error.errors() if e["loc"] not in refused]
        found += [(e["loc"], _sentence(e, model)) for e in errors[:MAX_MISTAKES]]
        more = len(errors) - MAX_MISTAKES
    else:
        if not found:
            return valid
        more = 0
    mistakes = [f"{_address(location, source, settings or {})}: {sentence}" for location, sentence in found]
    raise RecipeError(mistakes + [f"{source}: {more:,} more mistakes"] * (more > 0))


def _plain(value: Any, address: Address, refused: dict[Address, str]) -> Any:
    """Copy `value`; refuse and replace values that pydantic accepts but no file could hold."""
    if len(address) > MAX_DEPTH:
        refused[address[:1]] = f"nested more than {MAX_DEPTH} levels deep"
    elif isinstance(value, Mapping):
        return {key: _plain(item, (*address, key), refused) for key, item in value.items()}
    elif isinstance(value, (list, tuple)):
        return [_plain(item, (*address, index), refused) for index, item in enumerate(value)]
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        refused[address] = "must fit in 64 bits"
        return 0
    elif isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
        refused[address] = f"must be Unicode text, got {show(value)}"
        return "replaced"
    else:
        return value
    return None


def _address(location: Address, source: str, settings: Mapping[Address, str]) -> str:
    """Where the mistake at `location` was written: the setting of the longest matching address, else the file."""
    dotted = ".".join(_show_key(part) for part in location)
    for length in range(len(location), 0, -1):
        if setting := settings.get(location[:length]):
            named = setting.partition("=")[0].strip() == dotted
            return f"--set {printable(setting)}" + ("" if named else f": {dotted}")
    return f"{source}: {dotted}" if dotted else source


def _show_key(part: int | str) -> str:
    bare = str(part).replace("-", "_").isidentifier() and str(part).isascii() and len(str(part)) <= 60
    return str(part) if bare or isinstance(part, int) else show(part)


def _sentence(error: Any, model: type[BaseModel]) -> str:
    kind, location, context = error["type"], error["loc"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{_suggest_key(location, model)}"
    if kind == "missing":
        return (
            "missing; this list needs more values"
            if isinstance(location[-1], int)
            else "missing, and it has no default"
        )
    if kind == "value_error":  # the message of a section already names the value
        return str(context["error"])
    got = f", got {show(error['input'])}"
    if kind in _BOUNDS:
        return f"must be {_interval(location, model) or _bound(kind, context)}{got}"
    if kind == "literal_error":
        return _one_of(location, model, error["input"]) or str(error["msg"])
    if kind == "too_long":
        return f"must have {context['max_length']} values{got}"
    return _WANTED.get(kind, str(error["msg"])) + got


def _bound(kind: str, context: Mapping[str, Any]) -> str:
    words, key = _BOUNDS[kind]
    return f"{words} {_number(context[key])}"


def _interval(location: Address, model: type[BaseModel]) -> str:
    """`in (0, 1]` where the field is bounded on both sides."""
    field = _field(location, model)
    bounds = {
        key: getattr(m, key)
        for m in (field.metadata if field else ())
        for key in ("gt", "ge", "lt", "le")
        if getattr(m, key, None) is not None
    }
    low, high = bounds.keys() & {"gt", "ge"}, bounds.keys() & {"lt", "le"}
    if not low or not high:
        return ""
    left, right = ("(" if "gt" in low else "["), (")" if "lt" in high else "]")
    return f"in {left}{_number(bounds[low.pop()])}, {_number(bounds[high.pop()])}{right}"


def _number(value: float) -> str:
    return f"{value:_}" if isinstance(value, int) else f"{value:g}"


def _one_of(location: Address, model: type[BaseModel], given: object) -> str:
    field = _field(location, model)
    if field is None:
        return ""
    names = [str(name) for name in field.annotation.__args__]
    close = _closest(str(given), names)
    listed = ", ".join(show(name) for name in names[:-1]) + f" or {show(names[-1])}"
    return f"must be {listed}, got {show(given)}" + (f"; did you mean {show(close)}?" if close else "")


def _suggest_key(location: Address, model: type[BaseModel]) -> str:
    section: Any = model
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation
    known = list(section.model_fields)
    key = str(location[-1])
    elsewhere = [address for address in _addresses(model, "") if address.rpartition(".")[2] == key]
    close = _closest(key, known) or (elsewhere[0] if elsewhere else "")
    return f"; did you mean {close}?" if close else f"; known keys: {', '.join(known)}"


def _addresses(model: Any, prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if hasattr(field.annotation, "model_fields"):
            yield from _addresses(field.annotation, f"{prefix}{name}.")


def _field(location: Address, model: Any) -> Any:
    field = None
    for part in location:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return None
        model = field.annotation
    return field


def _closest(word: str, known: list[str]) -> str:
    import difflib  # 12 ms that only a mistake has to pay for

    return next(iter(difflib.get_close_matches(word[:100], known, 1)), "")
