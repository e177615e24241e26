"""How long a Job may take before Kubernetes ends it."""

from __future__ import annotations

SLOWEST = 5_000_000  # bytes a second, of a shared line or disk; what takes longer is stuck rather than slow
START = 3600  # for the queue, the image, and retries with their pauses


def seconds(size: int, passes: int = 1) -> int:
    """`activeDeadlineSeconds` for so many bytes moved or read so many times."""
    return START + passes * -(-size // SLOWEST)
