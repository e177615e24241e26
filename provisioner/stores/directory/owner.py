"""Whose build is this, and is anybody still working on it?

Locks lie on NFS, SMB and Lustre (huggingface_hub#2399, #2543), so nothing here decides about correctness: a build that
is wrongly thought to be abandoned may lose files it would have published; it notices before it publishes.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import suppress
from enum import Enum

from provisioner.stores.directory.files import read_small
from provisioner.stores.directory.places import OWNER

BEAT_SECONDS = 30.0
STALE_SECONDS = 15 * 60.0  # SMB caches attributes for 30 s and more; this is far above


GONE = b"{}"  # the content of owner.json once its process has let go


class Heartbeat:
    """Moves the time stamp of owner.json as long as the process runs, whatever it is busy with."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._path)

    def stop(self) -> None:
        """No more of it."""
        self._stopped.set()


class Life(Enum):
    """What is known of a build's process."""

    ALIVE = "alive"
    STALE = "stale"
    DEAD = "dead"


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


def identity() -> bytes:
    """Who we are, as the content of owner.json."""
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


def life_of(build: str, now: float) -> Life:
    """What is known of a build's process; `now` is the file system's own clock."""
    path = os.path.join(build, OWNER)
    try:
        owner = json.loads(read_small(path, 4096))
        age = now - os.stat(path).st_mtime
    except (OSError, ValueError):
        return Life.STALE if _age(build, now) > STALE_SECONDS else Life.ALIVE
    if _is_gone(owner):
        return Life.DEAD
    return Life.STALE if age > STALE_SECONDS else Life.ALIVE


def _age(path: str, now: float) -> float:
    try:
        return now - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _is_gone(owner: object) -> bool:
    """Whether the process let go, or ran here, under this kernel and namespace, and does no more."""
    if not isinstance(owner, dict) or not owner:
        return True
    here = (socket.gethostname(), _read("/proc/sys/kernel/random/boot_id"), _space())
    if not all(here) or (owner.get("host"), owner.get("boot"), owner.get("space")) != here:
        return False
    pid = owner.get("pid")
    return isinstance(pid, int) and _started(pid) != owner.get("started")
