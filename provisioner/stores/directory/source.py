"""Locked bytes out of the releases of a directory store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from provisioner.errors import NotFound
from provisioner.model import Digest, LockedFile
from provisioner.stores.directory.copying import open_regular
from provisioner.stores.directory.files import translated

Index = dict[Digest, str]  # digest -> path of a file that should have it


class DirectorySource:
    """The files of every published release, found by digest. Safe to share between threads."""

    is_remote = False

    def __init__(self, name: str, read_index: Callable[[], Index]) -> None:
        self.name = name
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
    def open(self, file: LockedFile, start: int, stop: int) -> Iterator[FileStream]:
        """The bytes `start <= offset < stop`. Raises NotFound, StoreError, Unavailable."""
        if (path := self._find(file.file.sha256)) is None:
            raise NotFound(f"{self.name} does not hold {file.repo}: {file.file.path}.")
        with translated(path):
            fd = open_regular(path)
        try:
            yield FileStream(fd, path, start, stop)
        finally:
            os.close(fd)


class FileStream:
    """Part of an open file."""

    def __init__(self, fd: int, path: str, start: int, stop: int) -> None:
        self._fd, self._path = fd, path
        self._offset, self._stop = start, stop

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of the buffer; 0 at the end."""
        with translated(self._path):
            count = os.preadv(self._fd, [buffer[: self._stop - self._offset]], self._offset)
        self._offset += count
        return count
