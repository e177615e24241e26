"""The paths of each layout."""

from __future__ import annotations

import json
from collections.abc import Iterator

from provisioner.errors import InvalidDocument, Problem
from provisioner.model import Layout, Lock, LockedFile, Model, RelPath, Tree, TreeEntry

# The folder of a release that a consumer's environment points at.
ROOTS = {
    Layout.HUB: "hub",
    Layout.FLAT: "models",
    Layout.HUGGINGFACE: "huggingface/hub",
    Layout.FASTEMBED: "fastembed",
    Layout.SENTENCE_TRANSFORMERS: "sentence_transformers",
}


def tree_of(lock: Lock) -> Tree:
    """The expected content of the release that a lock describes. Raises InvalidDocument for a path too long."""
    entries: list[TreeEntry] = []
    problems: list[Problem] = []
    for index, model in enumerate(lock.models):
        try:
            entries += (entry for layout in model.layouts for entry in _entries(model, layout))
        except ValueError as error:  # a file's path is good, but too long below the layout's folders
            problems.append(Problem(f"models[{index}].files", f"in its layout {error}"))
    if problems:
        raise InvalidDocument("The lock", tuple(problems), hint="Leave these files out, or choose another layout.")
    return Tree.of(entries)


def _entries(model: Model, layout: Layout) -> Iterator[TreeEntry]:
    if layout is Layout.FLAT:
        yield from _files(model, RelPath(ROOTS[layout]) / model.repo.name)
    else:
        yield from _hub_cache(model, RelPath(ROOTS[layout]) / model.repo.cache_folder)


def _files(model: Model, root: RelPath) -> Iterator[TreeEntry]:
    for file in model.files:
        yield TreeEntry.locked(root / file.path, LockedFile(model.repo, model.commit, file))


def _hub_cache(model: Model, root: RelPath) -> Iterator[TreeEntry]:
    """One model of a Hub cache: refs, the snapshot, and the listing of it.

    `refs/main` is there whatever revision was asked for: fastembed and remote code can ask for no other.
    """
    yield from _files(model, root / "snapshots" / model.commit)
    for name in sorted({"main", str(model.revision)} - {str(model.commit)}):
        yield TreeEntry.generated(root / "refs" / name, model.commit.encode())
    yield TreeEntry.generated(root / "trees" / f"{model.commit}.json", _listing(model))


def _listing(model: Model) -> bytes:
    """The client's own listing of a commit, with the locked files only.

    huggingface_hub 1.x refuses `snapshot_download(revision=COMMIT)` under HF_HUB_OFFLINE=1 without it:
    https://github.com/huggingface/huggingface_hub/blob/v1.33.0/src/huggingface_hub/_tree_cache.py
    """
    files = {}
    for file in model.files:
        info: dict[str, object] = {"size": file.size, "blob_id": file.git_oid}
        if file.git_sha1 is None:
            info |= {"lfs_sha256": file.sha256, "lfs_size": file.size}
        files[file.path] = info
    return json.dumps({"format_version": 1, "files": files}, indent=1, sort_keys=True).encode()
