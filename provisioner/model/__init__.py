"""Immutable values; no I/O."""

from provisioner.model.lock import FileEntry, Layout, Lock, LockedFile, Model, git_blob_id
from provisioner.model.names import Commit, Digest, GitSha1, RelPath, RepoId, Revision, collisions
from provisioner.model.tree import RELEASE_ID_LENGTH, Tree, TreeEntry

__all__ = [
    "RELEASE_ID_LENGTH",
    "Commit",
    "Digest",
    "FileEntry",
    "GitSha1",
    "Layout",
    "Lock",
    "LockedFile",
    "Model",
    "RelPath",
    "RepoId",
    "Revision",
    "Tree",
    "TreeEntry",
    "collisions",
    "git_blob_id",
]
