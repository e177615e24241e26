"""Locked bytes out of the releases in a share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from provisioner.errors import NotFound
from provisioner.model import Digest, LockedFile
from provisioner.stores.azurefiles.reading import RangeStream, opened
from provisioner.stores.azurefiles.share import Share

Index = dict[Digest, str]  # digest -> path of a file that should have it


class AzureFilesSource:
    """The files of every published release, found by digest. Safe to share between threads."""

    is_remote = True

    def __init__(self, name: str, share: Share, read_index: Callable[[], Index]) -> None:
        self.name = name
        self._share = share
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

    def open(self, file: LockedFile, start: int, stop: int) -> AbstractContextManager[RangeStream]:
        """The bytes `start <= offset < stop`. Raises NotFound; its stream Unavailable at the first failure."""
        if (path := self._find(file.file.sha256)) is None:
            raise NotFound(f"{self.name} does not hold {file.repo}: {file.file.path}.")
        return opened(self._share, path, start, stop, patient=False)
