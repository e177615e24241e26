"""Locked bytes out of the releases of a bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provisioner.errors import NotFound
from provisioner.model import Digest, LockedFile
from provisioner.ports.source import Stream
from provisioner.stores.objects.bucket import Bucket

Index = dict[Digest, str]  # digest -> key of an object that should have it


class ObjectSource:
    """The files of every published release, found by digest. Safe to share between threads."""

    is_remote = True

    def __init__(self, name: str, bucket: Bucket, read_index: Callable[[], Index]) -> None:
        self.name = name
        self._bucket = bucket
        self._read_index = read_index
        self._index: Index | None = None
        self._lock = threading.Lock()

    def _find(self, digest: Digest) -> str | None:
        with self._lock:
            if self._index is None:
                self._index = self._read_index()
            return self._index.get(digest)

    def has(self, file: LockedFile) -> bool:
        """Whether a release's record lists the digest."""
        return self._find(file.file.sha256) is not None

    @contextmanager
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[Stream]:
        """The bytes `start <= offset < stop`. Raises NotFound, AccessDenied, Unavailable."""
        if (key := self._find(file.file.sha256)) is None:
            raise NotFound(f"{self.name} does not hold {file.repo}: {file.file.path}.")
        with self._bucket.read(key, start, stop) as stream:
            yield stream
