"""Locked models made of names, for the pure rules."""

from __future__ import annotations

import hashlib
from typing import Any

from provisioner.model import Commit, Digest, FileEntry, Layout, Model, RelPath, RepoId, Revision


def model(*paths: str, repo: str = "org/model", layouts: tuple[Layout, ...] = (Layout.HUB,), **more: Any) -> Model:
    """A model with files of these names."""
    files = tuple(FileEntry(RelPath(path), 1, Digest(hashlib.sha256(path.encode()).hexdigest())) for path in paths)
    return Model(RepoId(repo), Revision("main"), Commit("a" * 40), layouts, files, **more)
