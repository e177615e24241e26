"""The bytes of files in a share: as a stream, or read to be hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from provisioner.errors import VerificationFailed
from provisioner.model import TreeEntry
from provisioner.ports.store import Advance
from provisioner.stores.azurefiles.share import RANGE, Share
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.blocks.ordered import in_order

CHUNK = 2 * 2**20  # bytes of one request; the SDK holds them twice for a moment
CONNECTIONS = 4  # for one large file: one connection alone seldom fills a line
MEMORY = 8 * RANGE  # and about as much again in the SDK's hands


class RangeStream:
    """Part of a file, asked for chunk by chunk."""

    def __init__(self, share: Share, path: str, start: int, stop: int, patient: bool) -> None:
        self._share, self._path, self._patient = share, path, patient
        self._offset, self._stop = start, stop
        self._left = memoryview(b"")

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of the buffer; 0 at the end. Raises Unavailable and NotFound."""
        if not self._left and self._offset < self._stop:
            stop = min(self._offset + CHUNK, self._stop)
            self._left = memoryview(self._share.read(self._path, self._offset, stop, self._patient))
            self._offset = stop
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


@contextmanager
def opened(share: Share, path: str, start: int, stop: int, patient: bool = True) -> Iterator[RangeStream]:
    """The bytes `start <= offset < stop` of a file; the first request is sent by the first read."""
    yield RangeStream(share, path, start, stop, patient)


def hash_prefix(share: Share, path: str, stop: int, budget: Budget, advance: Advance) -> hashlib._Hash:
    """Hash the first `stop` bytes, read on several connections."""
    digest = hashlib.sha256()
    with in_order(lambda low, high: opened(share, path, low, high), stop, RANGE, CONNECTIONS, budget) as blocks:
        for block in blocks:
            try:
                digest.update(block.bytes)
                count = len(block.bytes)
            finally:
                block.release()
            advance(count)
    return digest


def read_back(share: Share, path: str, entry: TreeEntry, budget: Budget, advance: Advance) -> str:
    """Read a file that should be an entry; the sha256 that its metadata records.

    Raises VerificationFailed when it is not the locked one, NotFound when it is not there.
    """
    stat = share.stat(path)
    found = hash_prefix(share, path, entry.size, budget, advance).hexdigest() if stat.size == entry.size else ""
    if found != entry.sha256:
        raise VerificationFailed(f"{share.place(path)} does not have the locked content of {entry.label}.")
    return stat.metadata.get("sha256", "")
