"""The expected content of a release, and its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from provisioner.model.lock import LockedFile
from provisioner.model.names import Digest, RelPath

RELEASE_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One path of a release.

    Attributes:
        path: inside the release.
        size: bytes.
        sha256: of the content.
        origin: the locked file whose bytes belong here; None for a generated file.
        content: the bytes of a generated file (`refs/main`); None for a locked one.
    """

    path: RelPath
    size: int
    sha256: Digest
    origin: LockedFile | None = field(default=None, compare=False, repr=False)
    content: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """For people: `ORG/NAME/file` where the bytes are a locked file's, else the path."""
        return f"{self.origin.repo}/{self.origin.file.path}" if self.origin else str(self.path)

    @classmethod
    def locked(cls, path: RelPath, origin: LockedFile) -> TreeEntry:
        """The place of a locked file."""
        return cls(path, origin.file.size, origin.file.sha256, origin=origin)

    @classmethod
    def generated(cls, path: RelPath, content: bytes) -> TreeEntry:
        """A file whose few bytes are made, not fetched."""
        return cls(path, len(content), Digest(hashlib.sha256(content).hexdigest()), content=content)


@dataclass(frozen=True)
class Tree:
    """Path -> digest and size, ordered by path; every path once."""

    entries: tuple[TreeEntry, ...]

    @classmethod
    def of(cls, entries: Iterable[TreeEntry]) -> Tree:
        """The tree of these entries in canonical order."""
        return cls(tuple(sorted(entries, key=lambda entry: entry.path.encode())))

    @cached_property
    def digest(self) -> Digest:
        """sha256 over one line `sha256 size path` for every entry, in byte order of the paths."""
        lines = "".join(f"{entry.sha256} {entry.size} {entry.path}\n" for entry in self.entries)
        return Digest(hashlib.sha256(lines.encode()).hexdigest())

    @property
    def release_id(self) -> str:
        """The release's name: the first 12 hex digits of the tree's digest."""
        return self.digest[:RELEASE_ID_LENGTH]

    @property
    def size(self) -> int:
        """Bytes of all entries, equal contents counted every time."""
        return sum(entry.size for entry in self.entries)

    def by_digest(self) -> dict[Digest, tuple[TreeEntry, ...]]:
        """Entries of equal content together, in the order of their first path."""
        ordered = sorted(self.entries, key=lambda entry: entry.sha256)
        groups = [tuple(group) for _, group in groupby(ordered, key=lambda entry: entry.sha256)]
        return {group[0].sha256: group for group in sorted(groups, key=lambda group: group[0].path)}
