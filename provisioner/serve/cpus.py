"""How many threads a computation may use: what the cgroup grants, never the cores of the node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Where nothing limits the process, more threads than this gain little for models of this size, and a node's 64
# cores belong to others too.
UNLIMITED = 4


def threads(root: Path = Path("/")) -> int:
    """Whole CPUs of the cgroup's limit, at least 1 and at most the CPUs this process may run on."""
    allowed = len(os.sched_getaffinity(0))
    limits = list(_limits(root))
    # Rounded down: one thread more than the quota is throttled, and every batch waits for its slowest thread.
    return max(1, min(allowed, int(min(limits)) if limits else UNLIMITED))


def _limits(root: Path) -> Iterator[float]:
    """CPUs granted by each cgroup that this process is in, and by each one above it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                yield from _along(root / mount, path, _unified)
        elif "cpu" in controllers.split(","):
            for mount in ("sys/fs/cgroup/cpu", f"sys/fs/cgroup/{controllers}"):
                yield from _along(root / mount, path, _first_version)


def _along(mount: Path, path: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """The limits of a cgroup and of those above it; inside a container its own is the top of the mount."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for depth in range(len(parts) + 1):
        if (limit := read(mount.joinpath(*parts[:depth]))) is not None:
            yield limit


def _unified(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _first_version(folder: Path) -> float | None:
    return _ratio(_text(folder / "cpu.cfs_quota_us").strip(), _text(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    """None for `max` and -1, which are no limits."""
    if not (quota.isdecimal() and period.isdecimal()) or int(period) == 0:
        return None
    return int(quota) / int(period)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
