"""Numbers as people read them."""

from __future__ import annotations

import math

_MOST = 10**30  # beyond it a number was made up by somebody


def size(count: int) -> str:
    """Bytes with a decimal unit: 90.9 MB."""
    if not -_MOST < count < _MOST:
        return "unknown size"
    if abs(count) < 1000:
        return f"{count} B"
    value = float(count)
    units = iter(("kB", "MB", "GB", "TB"))
    unit = ""
    while abs(value) >= 999.5 and (larger := next(units, "")):
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as 0.4 s, 12 s, 3 min 05 s or 2 h 07 min."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def count(number: int, noun: str) -> str:
    """`1 file`, `2,010 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
