"""Published releases made of in-memory files, written straight to disk."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from provisioner import lockfile
from provisioner.layout import tree_of
from provisioner.model import Commit, Digest, FileEntry, GitSha1, Layout, Lock, Model, RelPath, RepoId, Revision
from provisioner.ports.store import Modes
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, dump
from provisioner.stores.directory import DirectoryStore

LFS_SUFFIXES = (".safetensors", ".onnx", ".bin")


@dataclass(frozen=True)
class Made:
    """A locked model together with the bytes of its files."""

    model: Model
    content: dict[str, bytes]


def make(
    repo: str,
    content: dict[str, bytes],
    *,
    revision: str = "main",
    layouts: tuple[Layout, ...] = (Layout.HUB,),
    license: str | None = "apache-2.0",
    salt: str = "",
) -> Made:
    """A model at a commit that follows from its repository and `salt`; weights are in LFS, the rest is not."""
    files = tuple(_entry(path, data) for path, data in sorted(content.items()))
    commit = Commit(hashlib.sha1(f"{repo} {salt}".encode()).hexdigest())
    return Made(Model(RepoId(repo), Revision(revision), commit, layouts, files, license=license), content)


def _entry(path: str, data: bytes) -> FileEntry:
    git = None if path.endswith(LFS_SUFFIXES) else GitSha1(git_blob_id(data))
    return FileEntry(RelPath(path), len(data), Digest(hashlib.sha256(data).hexdigest()), git)


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def publish(root: Path, *made: Made, age: int = 0, activate: bool = True) -> str:
    """Write one release the way a mirror leaves it: all of it, then its name; the release's name.

    `age` is how many seconds ago that was.
    """
    lock = Lock(tuple(one.model for one in made))
    tree, text = tree_of(lock), lockfile.dump(lock)
    staging = root / "staging" / tree.release_id
    content = {(one.model.repo, path): data for one in made for path, data in one.content.items()}
    for entry in tree.entries:
        data = content[entry.origin.repo, entry.origin.file.path] if entry.origin else entry.content
        assert data is not None
        target = staging / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    (staging / LOCK_NAME).write_bytes(text)
    (staging / RECORD_NAME).write_bytes(dump(ReleaseRecord(tree, Digest(hashlib.sha256(text).hexdigest()))))
    moment = time.time() - age
    os.utime(staging, (moment, moment))
    (root / "releases").mkdir(exist_ok=True)
    staging.rename(root / "releases" / tree.release_id)
    if activate:
        store(root).activate(tree.release_id)
    return tree.release_id


def store(root: Path) -> DirectoryStore:
    return DirectoryStore(str(root), Modes())


def on_disk(root: Path, release: str, made: Made, path: str) -> Path:
    """Where a file of a model in the hub layout is."""
    model = made.model
    return root / "releases" / release / "hub" / model.repo.cache_folder / "snapshots" / model.commit / path
