"""Signs of life in `staging/`: objects that are there and renewed while a process builds or deletes a release."""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import suppress

from provisioner.errors import NotFound, ProvisionError, Unavailable
from provisioner.model import Digest
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.reading import read_small
from provisioner.stores.owner import STALE_SECONDS, Heartbeat, Life, identity, life

GOING = "going"  # in the name of a sign: whoever set it deletes

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while a machine sleeps


class Marker:
    """Our own sign.

    Others take it for dead once it is STALE_SECONDS old by the store's clock. We take ourselves for dead long before: a
    process that was paused must not go on as if nobody could have acted upon that.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self.key = bucket, key
        self._write()
        self._heartbeat = Heartbeat(self.renew)

    def renew(self) -> None:
        """Write it again. Raises Unavailable when we were taken for dead, or may have been."""
        self.require()
        self._write()

    def _write(self) -> None:
        now, content = time.clock_gettime(_CLOCK), identity()
        self._bucket.write(self.key, content, Digest(hashlib.sha256(content).hexdigest()))
        self._beat = now

    def require(self) -> None:
        """Raise Unavailable when we were silent for so long that others may act, or when somebody has deleted it."""
        silent = time.clock_gettime(_CLOCK) - self._beat > STALE_SECONDS / 2
        try:
            self._bucket.stat(self.key)
        except NotFound:
            silent = True
        if silent:
            raise Unavailable("This run was taken for dead by another one.", hint="Run again to continue.")

    def remove(self) -> None:
        """The process lets go."""
        self._heartbeat.stop()
        with suppress(ProvisionError):  # the next sweep finds it stale
            self._bucket.delete([self.key])


def new_marker(bucket: Bucket, keys: Keys, release: str, *, going: bool = False) -> Marker:
    """A sign that we build a release, or that we delete it."""
    return Marker(bucket, keys.marker(f"{release}.{GOING + '.' if going else ''}{secrets.token_hex(6)}"))


def lives(bucket: Bucket, keys: Keys, prefix: str = "") -> dict[str, Life]:
    """Key -> what is known of its process, of all signs or of those whose name begins so.

    Raises what a listing raises, and AccessDenied where nothing can be written.
    """
    found = list(bucket.list(keys.marker(prefix)))
    if not found:
        return {}
    now = _clock(bucket, keys)
    return {one.key: life(_content(bucket, one.key), now - one.modified) for one in found}


def builders(bucket: Bucket, keys: Keys, release: str) -> set[str]:
    """The signs of those who build a release now."""
    signs = lives(bucket, keys, f"{release}.")
    return {key for key, life in signs.items() if life is Life.ALIVE and not is_going(keys, key)}


def is_going(keys: Keys, key: str) -> bool:
    """Whether a sign is that of somebody who deletes."""
    return key.removeprefix(keys.staging).split(".")[1:2] == [GOING]


def release_of(keys: Keys, key: str) -> str:
    """The release that a sign is about."""
    return key.removeprefix(keys.staging).partition(".")[0]


def _content(bucket: Bucket, key: str) -> bytes | None:
    with suppress(NotFound):  # its process lets go at this moment
        return read_small(bucket, key, 4096)
    return None


def _clock(bucket: Bucket, keys: Keys) -> float:
    """The store's own time: its clock may differ from ours."""
    key = keys.marker(f"clock.{secrets.token_hex(6)}")  # two may ask at once
    bucket.write(key, b"", Digest(hashlib.sha256(b"").hexdigest()))
    try:
        return bucket.stat(key).modified
    finally:
        bucket.delete([key])
