"""The catalog of a store on disk, kept up to date while it is served."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Protocol

from provisioner import lockfile
from provisioner.errors import InvalidDocument, Problem, ProvisionError
from provisioner.hub.catalog import Blob, Catalog, Content, catalog_of
from provisioner.layout import tree_of
from provisioner.record import RECORD_NAME, ReleaseRecord

log = logging.getLogger(__name__)

CHECK_EVERY = 1.0

_Stamp = tuple[int, ...]


class Served(Protocol):
    """What serving needs of a store on disk."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    def path(self, release: str, path: str = "") -> str:
        """Where a release, or a file of it, is on disk."""
        ...

    def releases(self) -> tuple[str, ...]:
        """Names of the published releases, newest first."""
        ...

    def record(self, release: str) -> ReleaseRecord:
        """The record of a release. Raises NotFound, InvalidDocument."""
        ...

    def lock_text(self, release: str) -> bytes:
        """The lock a release was built from. Raises NotFound."""
        ...

    def active(self) -> str | None:
        """The active release's name, or None."""
        ...


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One release as it was read; no content where it is damaged."""

    stamp: _Stamp
    content: Content | None = field(compare=False)


class Shelf:
    """A store's catalog. `catalog` never waits; `refresh` looks at the store and reads only what is new."""

    def __init__(self, store: Served, check_every: float = CHECK_EVERY) -> None:
        self._store = store
        self._check_every = check_every
        self._lock = threading.Lock()
        self._loaded: dict[str, _Loaded] = {}
        self._next_check = 0.0
        self.catalog = Catalog({}, None)

    @property
    def name(self) -> str:
        """The store, for people."""
        return self._store.name

    def path(self, blob: Blob) -> str:
        """Where a file is on disk."""
        return self._store.path(blob.release, blob.place)

    @property
    def due(self) -> bool:
        """Whether it is time to look at the store again."""
        return time.monotonic() >= self._next_check

    def refresh(self) -> None:
        """Look at the store; the catalog stays as it was where the store cannot be read."""
        if not self._lock.acquire(blocking=False):
            return  # somebody else is at it, and the present catalog is good enough meanwhile
        try:
            self._next_check = time.monotonic() + self._check_every
            self._look()
        except (ProvisionError, OSError) as error:
            log.warning("cannot read the store %s: %s", self._store.name, error)
        finally:
            self._lock.release()

    def _look(self) -> None:
        names, active = self._store.releases(), self._store.active()
        loaded = {name: self._load(name) for name in names}
        if (list(loaded.items()), active) != (list(self._loaded.items()), self.catalog.active):
            contents = [release.content for release in loaded.values() if release.content]
            self.catalog = catalog_of(contents, active)
        self._loaded = loaded

    def _load(self, release: str) -> _Loaded:
        """A release, read once; what is wrong with it is said once."""
        stamp = self._stamp(release)
        known = self._loaded.get(release)
        if known and known.stamp == stamp:
            return known
        try:
            content = _content(release, self._store.record(release), self._store.lock_text(release))
        except ProvisionError as error:
            if error.retryable:
                raise  # the file server hesitates: that is no reason to drop a release until it changes
            log.warning("release %s is not served: %s", release, error)
            return _Loaded(stamp, None)
        return _Loaded(stamp, content)

    def _stamp(self, release: str) -> _Stamp:
        try:
            found = os.stat(self._store.path(release, RECORD_NAME))
        except FileNotFoundError:
            return ()
        return found.st_mtime_ns, found.st_ino, found.st_size


def _content(release: str, record: ReleaseRecord, lock_text: bytes) -> Content:
    if record.release != release or hashlib.sha256(lock_text).hexdigest() != record.lock:
        message = "the folder, the record and the lock do not belong together"
        raise InvalidDocument(release, (Problem("", message),), hint="Mirror the release again.")
    lock = lockfile.parse(lock_text)
    recorded = set(record.tree.entries)
    entries = tuple(entry for entry in tree_of(lock).entries if entry.origin and entry in recorded)
    return Content(release, lock, entries)
