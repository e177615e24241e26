"""JSON that a pod wrote, who may be anybody. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

_LARGEST = 2**63  # what no count of files, bytes or seconds reaches
_DEEPEST = 32


def parsed(text: str) -> Any:
    """The document, or None where it is none or too deep; numbers that count nothing (NaN, 1e999, 10**400) are None."""
    try:
        found = json.loads(text, parse_constant=lambda _: None, parse_float=_real, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return found if _fits(found, _DEEPEST) else None


def _real(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) and abs(number) < _LARGEST else None


def _whole(text: str) -> int | None:
    number = int(text) if len(text) < 25 else _LARGEST
    return number if abs(number) < _LARGEST else None


def _fits(found: Any, left: int) -> bool:
    if not isinstance(found, dict | list):
        return True
    inner = found.values() if isinstance(found, dict) else found
    return left > 0 and all(_fits(one, left - 1) for one in inner)
