"""Locked bytes out of the releases of a store, whatever it is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from provisioner.errors import NotFound
from provisioner.model import Digest, LockedFile
from provisioner.ports.source import Stream

Index = dict[Digest, str]  # digest -> place of a file that should have it
OpenPlace = Callable[[str, int, int], AbstractContextManager[Stream]]  # place, start, stop


class StoreSource:
    """The files of every published release, found by digest. Safe to share between threads."""

    def __init__(self, name: str, is_remote: bool, read_index: Callable[[], Index], open_place: OpenPlace) -> None:
        self.name = name
        self.is_remote = is_remote
        self._read_index, self._open_place = read_index, open_place
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

    def open(self, file: LockedFile, start: int, stop: int) -> AbstractContextManager[Stream]:
        """The bytes `start <= offset < stop`. Raises NotFound, and what the store raises."""
        if (place := self._find(file.file.sha256)) is None:
            raise NotFound(f"{self.name} does not hold {file.repo}: {file.file.path}.")
        return self._open_place(place, start, stop)
