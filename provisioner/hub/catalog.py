"""What the published releases of a store hold, by repository, commit and path. Pure; no I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from provisioner.model import Commit, FileEntry, Lock, RelPath, RepoId, TreeEntry


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a commit and where the store has its bytes.

    Attributes:
        release: the release that holds it.
        place: its path inside that release.
    """

    file: FileEntry
    release: str
    place: RelPath

    @property
    def lfs(self) -> bool:
        """Whether the Hub keeps the file in LFS; the lock has a git sha1 exactly where it does not."""
        return self.file.git_sha1 is None

    @property
    def etag(self) -> str:
        """What the Hub names the content by: the sha256 of an LFS file, else the git sha1."""
        return self.file.git_sha1 or self.file.sha256


@dataclass(frozen=True)
class Snapshot:
    """One commit of one repository, as far as the releases hold it.

    Attributes:
        license: as the lock gives it, or None.
        blobs: by path inside the repository.
        releases: the releases that hold it, the active one first, then newest first.
    """

    repo: RepoId
    commit: Commit
    license: str | None
    blobs: dict[str, Blob] = field(default_factory=dict)
    releases: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(blob.file.size for blob in self.blobs.values())

    @cached_property
    def folders(self) -> frozenset[str]:
        """Every folder, the empty root included."""
        return frozenset({"", *(parent for blob in self.blobs.values() for parent in blob.file.path.parents)})

    @cached_property
    def _paths(self) -> list[str]:
        return sorted(self.folders.union(self.blobs) - {""})

    def listing(self, folder: str, *, recursive: bool, after: str, limit: int) -> list[str]:
        """Up to `limit` paths of files and folders below a folder, in order, behind the path `after`."""
        prefix = f"{folder}/" if folder else ""
        return list(islice(self._below(prefix, recursive, max(after, prefix)), limit))

    def _below(self, prefix: str, recursive: bool, after: str) -> Iterator[str]:
        paths = self._paths
        for index in range(bisect_left(paths, after), len(paths)):
            path = paths[index]
            if not path.startswith(prefix):
                return
            if path != after and (recursive or "/" not in path[len(prefix) :]):
                yield path


@dataclass(frozen=True, slots=True)
class Repo:
    """One repository.

    Attributes:
        refs: commit by branch or tag; `main` is always there.
        snapshots: by commit, that of `main` first.
    """

    name: RepoId
    refs: dict[str, Commit] = field(default_factory=dict)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @property
    def main(self) -> Snapshot:
        """What `main` means: the active release's commit, else the newest one's."""
        return self.snapshots[self.refs["main"]]

    def find(self, revision: str) -> Snapshot | None:
        """The snapshot that a commit, branch or tag means, or None."""
        return self.snapshots.get(self.refs.get(revision, revision))


@dataclass(frozen=True, slots=True)
class Content:
    """One published release.

    Attributes:
        entries: the entries of its tree that come from the lock.
    """

    release: str
    lock: Lock
    entries: tuple[TreeEntry, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything that is served; nothing outside it can be asked for.

    Attributes:
        repos: by name.
        active: the active release, or None.
    """

    repos: dict[str, Repo]
    active: str | None


def catalog_of(contents: Iterable[Content], active: str | None) -> Catalog:
    """Put releases together, given newest first.

    Files of one commit that several releases hold are one snapshot. A name means what the active release locked it
    to, else what the newest release did.
    """
    repos: dict[str, Repo] = {}
    for content in sorted(contents, key=lambda content: content.release != active):
        _add(repos, content)
    return Catalog(dict(sorted(repos.items(), key=lambda item: item[0].lower())), active)


def _add(repos: dict[str, Repo], content: Content) -> None:
    for model in content.lock.models:
        repo = repos.setdefault(model.repo, Repo(model.repo))
        for name in {"main", str(model.revision)} - {str(model.commit)}:
            repo.refs.setdefault(name, model.commit)
        snapshot = repo.snapshots.setdefault(model.commit, Snapshot(model.repo, model.commit, model.license))
        snapshot.releases.append(content.release)
    for entry in content.entries:
        if origin := entry.origin:
            blobs = repos[origin.repo].snapshots[origin.commit].blobs
            blobs.setdefault(origin.file.path, Blob(origin.file, content.release, entry.path))
