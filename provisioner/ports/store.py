"""A place that holds releases, in the small steps that a transfer needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from provisioner.errors import VerificationFailed
from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.source import Source, Stream
from provisioner.record import ReleaseRecord
from provisioner.report import Evidence, Finding


class HalfPublished(VerificationFailed):
    """A release of ours is visible, lacks files, and cannot be taken back."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store was seen to do when it was probed.

    Attributes:
        hard_links: one file can have two names.
        chmod: permission bits stick.
        free: bytes that can still be written, or None where the store cannot say.
    """

    hard_links: bool
    chmod: bool
    free: int | None


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of one digest that the store already has.

    Attributes:
        place: the release or unfinished build they are in, and the path there.
        movable: they belong to a build that nobody works on any more, so they may be renamed.
    """

    digest: Digest
    size: int
    place: str
    movable: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What a planner has to know about a store.

    Attributes:
        published: the release of this tree is there and complete by its record and sizes.
        damage: findings that speak against a release that is there.
        held: where bytes already are, by digest.
        partial: how many bytes of a digest an interrupted run left behind.
    """

    published: bool
    damage: tuple[Finding, ...]
    held: dict[Digest, Held]
    partial: dict[Digest, int]
    capabilities: Capabilities


class Pull(Protocol):
    """The bytes of one locked file, whichever source has them; survives failures that pass."""

    def open(self, start: int, stop: int) -> AbstractContextManager[Stream]:
        """A stream over `start <= offset < stop`."""
        ...


Advance = Callable[[int], None]


class Build(Protocol):
    """One release on its way in; nothing of it is visible before `publish`."""

    @property
    def is_remote(self) -> bool:
        """Whether several connections fill one file faster than one does."""
        ...

    def put(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry from a source. Raises VerificationFailed when the bytes are not the locked ones."""
        ...

    def share(self, entry: TreeEntry, held: Held, advance: Advance) -> None:
        """Take an entry from bytes the store has, re-hashed. Raises VerificationFailed, NotFound."""
        ...

    def generate(self, entry: TreeEntry) -> None:
        """Write a generated entry."""
        ...

    def repeat(self, entry: TreeEntry, first: TreeEntry) -> None:
        """Give the bytes of an entry of this build a second path."""
        ...

    def publish(self, record: ReleaseRecord, lock_text: bytes) -> bool:
        """Make the release visible, whole; False when somebody else published it first."""
        ...

    def close(self) -> None:
        """Let go; what was verified stays for the next run unless it was published."""
        ...


class Store(Protocol):
    """A place that holds releases."""

    @property
    def name(self) -> str:
        """For people: the address, without credentials."""
        ...

    def exists(self) -> bool:
        """Whether there is a store at this address, be it without a release."""
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

    def marks_active(self) -> bool:
        """Whether something says which release is active, readable or not."""
        ...

    def activate(self, release: str) -> None:
        """Make a release the active one. Raises NotFound, VerificationFailed."""
        ...

    def remove(self, release: str) -> int:
        """Delete a release; bytes freed. Raises NotFound."""
        ...

    def sweep(self, release: str | None = None) -> tuple[str, ...]:
        """Delete what dead runs left behind, of one release or of all; the names of it."""
        ...

    def create(self) -> None:
        """Make the store ready to be written, there already or not. Raises StoreError."""
        ...

    def observe(self, tree: Tree, anew: bool = False) -> Observed:
        """Everything a planner needs to know; with `anew` as if its release were not there.

        Raises StoreError when the store cannot be written."""
        ...

    def build(self, tree: Tree, replaces: bool = False) -> Build:
        """Begin, or take up again, the release of a tree; `replaces` one that is there but damaged."""
        ...

    def check(self, record: ReleaseRecord, evidence: Evidence, advance: Advance) -> Iterator[Finding]:
        """Compare a release with its record, each finding as soon as it is known."""
        ...

    def as_source(self) -> Source:
        """The store as somewhere to read locked bytes from."""
        ...


@dataclass(frozen=True, slots=True)
class Modes:
    """Permission bits of what is published."""

    file: int = 0o644
    folder: int = 0o755
