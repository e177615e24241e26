"""Whose build is this, and is anybody still working on it?

Locks lie on NFS, SMB and Lustre (huggingface_hub#2399, #2543) and object stores have none, so nothing here decides
about correctness: a build that is wrongly thought to be abandoned may lose files it would have published; it notices
before it publishes.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from provisioner.errors import ProvisionError

BEAT_SECONDS = 30.0
STOP_SECONDS = 10.0
STALE_SECONDS = 15 * 60.0  # SMB caches attributes for 30 s and more; this is far above

GONE = b"{}"  # what stands where the identity was, once the process has let go


class Heartbeat:
    """Calls `beat`, which renews an identity's time stamp, as long as the process runs, whatever it is busy with."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with suppress(OSError, ProvisionError, RuntimeError):
                self._beat()

    def stop(self) -> None:
        """No more of it, also not of one that has just begun."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)


class Life(Enum):
    """What is known of a build's process."""

    ALIVE = "alive"
    STALE = "stale"
    DEAD = "dead"


def identity() -> bytes:
    """Who we are, to be stored with a build."""
    pid = os.getpid()
    return json.dumps(
        {
            "host": socket.gethostname(),
            "boot": _read("/proc/sys/kernel/random/boot_id"),
            "space": _space(),
            "pid": pid,
            "started": _started(pid),
        }
    ).encode()


def life(stored: bytes | None, age: float) -> Life:
    """What an identity and the seconds since its last beat say; None for one that cannot be read."""
    try:
        if stored is not None and _is_gone(json.loads(stored)):
            return Life.DEAD
    except ValueError:
        pass
    return Life.STALE if age > STALE_SECONDS else Life.ALIVE


def _is_gone(owner: object) -> bool:
    """Whether the process let go, or ran here, under this kernel and namespace, and does no more."""
    if not isinstance(owner, dict) or not owner:
        return True
    here = (socket.gethostname(), _read("/proc/sys/kernel/random/boot_id"), _space())
    if not all(here) or (owner.get("host"), owner.get("boot"), owner.get("space")) != here:
        return False
    pid = owner.get("pid")
    return isinstance(pid, int) and _started(pid) != owner.get("started")


def _read(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read().strip()
    return ""


def _started(pid: int) -> str:
    """When a process was started, in ticks since boot; "" when it does not run. Tells two of one number apart."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if len(fields) < 20 or fields[0] in "ZX" else fields[19]


def _space() -> str:
    """The namespace in which process numbers mean something."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""
