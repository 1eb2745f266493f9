"""Byte sizes as people write them: `16MB`, `16MiB`, `900kB`, `16_000_000`."""

from __future__ import annotations

import re

# SI prefixes count in thousands, IEC prefixes in 1024s (IEC 80000-13): contest entries were lost to taking 1024 x 1024
# for a megabyte. Lower case is accepted; other mixtures are not, since `Mb` are megabits.
_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
_SPELLINGS = _UNITS | {unit.lower(): factor for unit, factor in _UNITS.items()}
ACCEPTED = "plain bytes (16000000 or 16_000_000), or a number with B, kB, MB, GB (thousands) or KiB, MiB, GiB (1024s)"
_NUMBER = re.compile(r"(\d+(?:_\d+)*(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_size(text: str | int) -> int:
    """Bytes meant by `text`; raises ValueError naming the accepted forms.

    >>> parse_size("16MB"), parse_size("16MiB"), parse_size("0.9MB"), parse_size("16_000_000")
    (16000000, 16777216, 900000, 16000000)
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is no size; write {ACCEPTED}")
    if isinstance(text, int):
        text = str(text)
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= 40 else None
    if match is None or (match[2] and match[2] not in _SPELLINGS):
        raise ValueError(f"{text[:40]!r} is no size; write {ACCEPTED}")
    number, unit = match[1].replace("_", ""), _SPELLINGS.get(match[2], 1)
    whole, _, fraction = number.partition(".")
    scaled = int(whole + fraction) * unit
    size, remainder = divmod(scaled, 10 ** len(fraction))
    if remainder or size <= 0:
        raise ValueError(f"{text!r} is not a whole, positive number of bytes; write {ACCEPTED}")
    return size
