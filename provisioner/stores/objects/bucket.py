"""What an object store has to offer: one bucket, in the few steps that releases need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from provisioner.errors import NotFound, Unavailable
from provisioner.model import Digest
from provisioner.ports.source import Stream

SHA256 = "sha256"  # the name of our metadata: x-amz-meta-sha256


class NoBucket(NotFound):
    """The bucket itself is missing."""


class UploadGone(Unavailable):
    """Somebody else has completed or abandoned an upload that we were filling."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object as a listing shows it.

    Attributes:
        modified: seconds since the epoch, by the store's clock.
    """

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Stat:
    """What the store says about one object without sending its bytes.

    Attributes:
        sha256: the digest that its writer recorded in its metadata, or "".
        modified: seconds since the epoch, by the store's clock.
    """

    size: int
    sha256: str
    modified: float


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that nobody has completed.

    Attributes:
        started: seconds since the epoch, by the store's clock.
    """

    key: str
    id: str
    started: float


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an upload as the store has it.

    Attributes:
        etag: without quotes; the MD5 in hex unless the store encrypts with a key of its own.
        checksum: CRC32 in base64, or "" where the store keeps none.
    """

    number: int
    size: int
    etag: str
    checksum: str = ""


class Bucket(Protocol):
    """One bucket of one endpoint. Safe to share between threads.

    Every method raises NotFound, AccessDenied, Unavailable, StoreError or StoreFull; what passes was retried before.
    """

    @property
    def name(self) -> str:
        """The address for people, `s3://BUCKET`, without credentials."""
        ...

    def list(self, prefix: str) -> Iterator[Object]:
        """Every object whose key begins so, in no order that all stores share."""
        ...

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The next step of every key that begins so and goes on after another slash."""
        ...

    def stat(self, key: str) -> Stat:
        """One object. Raises NotFound."""
        ...

    def read(self, key: str, start: int, stop: int) -> AbstractContextManager[Stream]:
        """The bytes `start <= offset < stop` of an object. Raises NotFound; its stream Unavailable."""
        ...

    def write(self, key: str, content: bytes | memoryview, digest: Digest, only_new: bool = False) -> bool:
        """Write a whole object of known digest; with `only_new` False when there is one of that name already."""
        ...

    def copy(self, source: str, target: str, size: int, digest: Digest) -> None:
        """Copy inside the store, whatever the size, and record the digest. Raises NotFound."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, there or not."""
        ...

    def begin(self, key: str, digest: Digest) -> str:
        """Begin an upload in parts; its id."""
        ...

    def write_part(self, key: str, upload: str, number: int, content: memoryview) -> Part:
        """Write a part, counted from 1. Raises UploadGone."""
        ...

    def parts(self, key: str, upload: str) -> Iterator[Part]:
        """What an upload holds so far. Raises UploadGone."""
        ...

    def finish(self, key: str, upload: str, parts: tuple[Part, ...]) -> None:
        """Make an object of all parts, in order. Raises UploadGone, also when the store has other parts."""
        ...

    def abandon(self, key: str, upload: str) -> None:
        """Delete an upload and its parts, there or not."""
        ...

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Every upload that nobody has completed, of the keys that begin so; some stores list only those of one key."""
        ...
