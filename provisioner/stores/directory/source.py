"""Parts of the files of a directory store, as streams."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.stores.directory.copying import open_regular
from provisioner.stores.directory.files import translated


@contextmanager
def opened(path: str, start: int, stop: int) -> Iterator[FileStream]:
    """The bytes `start <= offset < stop` of a file. Raises NotFound, StoreError, Unavailable."""
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
