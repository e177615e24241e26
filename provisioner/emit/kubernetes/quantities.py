"""Sizes as Kubernetes writes them."""

from __future__ import annotations

GI = 2**30
SPARE = 1.1  # what a file system keeps for itself
LEAST = 1 * GI


def room(release_bytes: int, releases: int = 2) -> int:
    """Bytes a volume needs to hold so many releases of this size at once, and headroom."""
    return max(round(release_bytes * releases * SPARE), LEAST)


def gibibytes(size: int) -> str:
    """Rounded up, since some provisioners count in whole GiB: `12Gi`."""
    return f"{-(-size // GI)}Gi"
