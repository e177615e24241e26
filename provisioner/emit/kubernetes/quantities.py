"""Sizes as Kubernetes writes them."""

from __future__ import annotations

from decimal import Decimal

from provisioner.emit.kubernetes.names import Quantity

GI = 2**30
SPARE = 1.1  # what a file system keeps for itself
LEAST = 1 * GI


def room(release_bytes: int, releases: int = 2) -> int:
    """Bytes a volume needs to hold so many releases of this size at once, and headroom."""
    return max(round(release_bytes * releases * SPARE), LEAST)


def gibibytes(size: int) -> str:
    """Rounded up, since some provisioners count in whole GiB: `12Gi`."""
    return f"{-(-size // GI)}Gi"


def bytes_of(quantity: Quantity) -> int:
    """What `20Gi`, `1.5T` or `500m` are in bytes, rounded down."""
    number = quantity.rstrip("mkKMGTPEi")
    unit = quantity[len(number) :]
    if unit == "m":
        return int(Decimal(number) / 1000)
    base = 1024 if unit.endswith("i") else 1000
    return int(Decimal(number) * base ** (("", "K", "M", "G", "T", "P", "E").index(unit[:1].upper())))
