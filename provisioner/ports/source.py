"""Where locked bytes can be read."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from provisioner.errors import Unusable
from provisioner.model import LockedFile


class RangesIgnored(Unusable):
    """A source that cannot begin in the middle of a file; asking for the whole file works."""


class Stream(Protocol):
    """Bytes in order."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of the buffer; 0 at the end. Raises Unavailable when the bytes stop coming."""
        ...


class Source(Protocol):
    """A Hub endpoint or a store."""

    @property
    def name(self) -> str:
        """For people: where the bytes come from, without credentials."""
        ...

    @property
    def is_remote(self) -> bool:
        """Whether several connections bring one file faster than one does."""
        ...

    def has(self, file: LockedFile) -> bool:
        """Whether it is worth asking this source for the file; no promise."""
        ...

    def open(self, file: LockedFile, start: int, stop: int) -> AbstractContextManager[Stream]:
        """The bytes `start <= offset < stop` of a file.

        Raises NotFound, AccessDenied, Unavailable or RangesIgnored; the receiver checks the bytes, not the source.
        """
        ...
