"""The sign of life of a build: an object that is there, and renewed, as long as its process is."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress

from provisioner.errors import NotFound, ProvisionError, Unavailable
from provisioner.model import Digest
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.reading import read_small
from provisioner.stores.owner import Heartbeat, Life, identity, life


class Marker:
    """Ours."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._write()
        self._heartbeat = Heartbeat(self.renew)

    def _write(self) -> None:
        content = identity()
        self._bucket.write(self._key, content, Digest(hashlib.sha256(content).hexdigest()))

    def renew(self) -> None:
        """Write it again. Raises Unavailable when a sweep has taken us for dead: then files of ours may be gone."""
        self.require()
        self._write()

    def require(self) -> None:
        """Raise Unavailable when it is gone; a sweep deletes it before anything else."""
        try:
            self._bucket.stat(self._key)
        except NotFound:
            raise Unavailable("This run was taken for dead by a prune.", hint="Run again to continue.") from None

    def remove(self) -> None:
        """The process lets go."""
        self._heartbeat.stop()
        with suppress(ProvisionError):  # the next sweep finds it stale
            self._bucket.delete([self._key])


def lives(bucket: Bucket, keys: Keys, release: str | None) -> dict[str, Life]:
    """Marker key -> what is known of its process, of one release or of all.

    Raises what a listing raises, and AccessDenied where nothing can be written.
    """
    found = list(bucket.list(keys.marker(f"{release}." if release else "")))
    if not found:
        return {}
    now = _clock(bucket, keys)
    return {one.key: life(_content(bucket, one.key), now - one.modified) for one in found}


def _content(bucket: Bucket, key: str) -> bytes | None:
    with suppress(NotFound):  # its process lets go at this moment
        return read_small(bucket, key)
    return None


def _clock(bucket: Bucket, keys: Keys) -> float:
    """The store's own time: its clock may differ from ours."""
    key = keys.marker(f"clock.{secrets.token_hex(6)}")  # two may ask at once
    bucket.write(key, b"", Digest(hashlib.sha256(b"").hexdigest()))
    try:
        return bucket.stat(key).modified
    finally:
        bucket.delete([key])
