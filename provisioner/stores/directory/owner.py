"""The owner of a build folder: owner.json, and its time stamp as the sign of life."""

from __future__ import annotations

import os
from functools import partial

from provisioner.stores.directory.files import read_small
from provisioner.stores.directory.places import OWNER
from provisioner.stores.owner import GONE, Heartbeat, Life, identity, life

__all__ = ["GONE", "Life", "heartbeat", "identity", "life_of"]


def heartbeat(build: str) -> Heartbeat:
    """Moves the time stamp of a build's owner.json."""
    return Heartbeat(partial(os.utime, os.path.join(build, OWNER)))


def life_of(build: str, now: float) -> Life:
    """What is known of a build's process; `now` is the file system's own clock."""
    path = os.path.join(build, OWNER)
    try:
        return life(read_small(path, 4096), now - os.stat(path).st_mtime)
    except OSError:
        return life(None, _age(build, now))


def _age(path: str, now: float) -> float:
    try:
        return now - os.stat(path).st_mtime
    except OSError:
        return 0.0
