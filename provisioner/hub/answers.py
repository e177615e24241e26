"""The Hub's JSON shapes, and its errors. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from provisioner.errors import NotFound
from provisioner.hub.catalog import Blob, Repo, Snapshot

Json = dict[str, Any]


class Refused(NotFound):
    """A request that is answered with an error.

    Attributes:
        status: of the HTTP answer.
        code: the Hub's `X-Error-Code`, which clients choose their exception by, or "".
        commit: for `X-Repo-Commit`, or "".
    """

    code: ClassVar[str] = ""
    status: ClassVar[int] = 404

    def __init__(self, message: str, *, commit: str = "") -> None:
        super().__init__(message)
        self.commit = commit


class RepoNotFound(Refused):
    """No published release holds the repository."""

    code = "RepoNotFound"


class RevisionNotFound(Refused):
    """No published release holds the repository at this revision."""

    code = "RevisionNotFound"


class EntryNotFound(Refused):
    """The commit has no such file or folder, or none was locked."""

    code = "EntryNotFound"


class NotAllowed(Refused):
    """A method that would write."""

    status = 405


class TooLarge(Refused):
    """A request body that no client sends."""

    status = 413


class Damaged(Refused):
    """A file on disk that does not match its record, or cannot be read."""

    status = 503


def model_info(repo: Repo, snapshot: Snapshot, *, siblings: bool = True, blobs: bool = False) -> Json:
    """A model as `/api/models/REPO` gives it; `blobs` adds size and digests to each file."""
    info: Json = {
        "id": str(repo.name),
        "modelId": str(repo.name),
        "sha": str(snapshot.commit),
        "private": False,
        "gated": False,
        "disabled": False,
        "tags": [f"license:{snapshot.license}"] if snapshot.license else [],
        "cardData": {"license": snapshot.license} if snapshot.license else {},
        "usedStorage": snapshot.size,
    }
    if "/" in repo.name:
        info["author"] = repo.name.partition("/")[0]
    if siblings:
        info["siblings"] = [_sibling(snapshot.blobs[path], blobs) for path in sorted(snapshot.blobs)]
    return info


def _sibling(blob: Blob, details: bool) -> Json:
    sibling: Json = {"rfilename": str(blob.file.path)}
    if details:
        sibling |= {"size": blob.file.size, "blobId": blob.file.git_oid}
        if blob.lfs:
            lfs = {"sha256": str(blob.file.sha256), "size": blob.file.size, "pointerSize": len(blob.file.lfs_pointer)}
            sibling["lfs"] = lfs
    return sibling


def entries(snapshot: Snapshot, paths: Iterable[str]) -> list[Json]:
    """Files and folders as the tree lists them; paths that are neither are left out, as the Hub does."""
    found = (_entry(snapshot, path) for path in paths)
    return [entry for entry in found if entry]


def _entry(snapshot: Snapshot, path: str) -> Json | None:
    if blob := snapshot.blobs.get(path):
        entry: Json = {"type": "file", "oid": blob.file.git_oid, "size": blob.file.size, "path": path}
        if blob.lfs:
            lfs = {"oid": str(blob.file.sha256), "size": blob.file.size, "pointerSize": len(blob.file.lfs_pointer)}
            entry["lfs"] = lfs
        return entry
    if path and path in snapshot.folders:
        # A lock does not know git's tree ids; clients only need one that stays the same.
        return {"type": "directory", "oid": str(snapshot.commit), "size": 0, "path": path}
    return None


def refs(repo: Repo) -> Json:
    """Branches, tags and pull requests; a lock does not tell them apart, so what is not `main` is a tag."""
    found: Json = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for name, commit in repo.refs.items():
        pull = name.startswith("refs/pr/")
        kind = "branches" if name == "main" else "pullRequests" if pull else "tags"
        ref = name if pull else f"refs/{'heads' if name == 'main' else 'tags'}/{name}"
        found[kind].append({"name": name.removeprefix("refs/pr/"), "ref": ref, "targetCommit": str(commit)})
    return found
