"""Sizes as Kubernetes writes them."""

from __future__ import annotations

import re
from decimal import Decimal

from provisioner.emit.kubernetes.names import Quantity

GI = 2**30
SPARE = 1.1  # what a file system keeps for itself
LEAST = 1 * GI

_PARTS = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?)(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?")
_PARTS_OF_ONE = {"m": 10**3, "u": 10**6, "n": 10**9}
_UNITS = {unit: 10 ** (3 * power) for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("KMGTPE", 1)}


def amount(text: object) -> Decimal | None:
    """A quantity, of ours or from the API server, as a number; None for what is none, negative ones included."""
    if not (match := _PARTS.fullmatch(str(text))):
        return None
    digits, unit, exponent = match.groups()
    number = Decimal(digits)
    if exponent:
        return number.scaleb(int(exponent))
    return number / _PARTS_OF_ONE[unit] if unit in _PARTS_OF_ONE else number * _UNITS.get(unit, 1)


def room(release_bytes: int, releases: int = 2) -> int:
    """Bytes a volume needs to hold so many releases of this size at once, and headroom."""
    return max(round(release_bytes * releases * SPARE), LEAST)


def gibibytes(size: int) -> str:
    """Rounded up, since some provisioners count in whole GiB: `12Gi`."""
    return f"{-(-size // GI)}Gi"


def bytes_of(quantity: Quantity) -> int:
    """What `20Gi`, `1.5T` or `500m` are in bytes, rounded down."""
    return int(amount(quantity) or 0)
