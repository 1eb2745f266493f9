"""Bits per byte of `xz -9e`, a baseline without a model."""

from __future__ import annotations

import lzma


def xz_bits_per_byte(text: bytes) -> float:
    """Bits per byte of `xz -9e` on `text`, container included; 0 for no text."""
    return 8 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)) / len(text) if text else 0.0
