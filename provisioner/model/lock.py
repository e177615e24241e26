"""What a lock says: models pinned to commits, files pinned to digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from provisioner.model.names import Commit, Digest, GitSha1, RelPath, RepoId, Revision


def git_blob_id(data: bytes) -> GitSha1:
    """What git calls a file of this content."""
    return GitSha1(hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest())


class Layout(StrEnum):
    """How one consumer library expects to find a model on disk."""

    HUB = "hub"
    FLAT = "flat"
    HUGGINGFACE = "huggingface"
    FASTEMBED = "fastembed"
    SENTENCE_TRANSFORMERS = "sentence-transformers"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a model.

    Attributes:
        path: inside the repository.
        size: bytes.
        sha256: of the whole content.
        git_sha1: the git blob id, where the Hub publishes only that for the file (it is not in LFS).
    """

    path: RelPath
    size: int
    sha256: Digest
    git_sha1: GitSha1 | None = None

    @property
    def lfs_pointer(self) -> bytes:
        """The text that git holds in the place of an LFS file.

        https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
        """
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def git_oid(self) -> GitSha1:
        """The git blob id; an LFS file's is that of its pointer."""
        return self.git_sha1 or git_blob_id(self.lfs_pointer)


@dataclass(frozen=True, slots=True)
class Model:
    """One repository at one commit, the files chosen from it and the layouts it is wanted in.

    Attributes:
        revision: what was asked for (`main`, a tag); `commit` is what it meant when it was locked.
        include, exclude: globs that chose the files; no include means the default choice.
        license: as the model card gives it, or None.
        allow_pickle, allow_remote_code: what the policy would refuse otherwise.
    """

    repo: RepoId
    revision: Revision
    commit: Commit
    layouts: tuple[Layout, ...]
    files: tuple[FileEntry, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    license: str | None = None
    allow_pickle: bool = False
    allow_remote_code: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Lock:
    """`models.lock`: the models, ordered by repository."""

    models: tuple[Model, ...]

    def find(self, repo: str) -> Model | None:
        """The model of a repository, or None."""
        return next((model for model in self.models if model.repo == repo), None)


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file together with where the Hub has it."""

    repo: RepoId
    commit: Commit
    file: FileEntry
