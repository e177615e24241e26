"""The small files of a repository: read, checked against what the Hub lists, and digested.

The Hub publishes a sha256 only for files in LFS. For the others the git sha1 is checked and the sha256 computed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from provisioner.errors import InvalidInput, VerificationFailed
from provisioner.model import Commit, Digest, FileEntry, Model, RelPath, RepoId, git_blob_id
from provisioner.rules import is_document
from provisioner.sources.hub_api import HubApi, RemoteFile, RemoteSnapshot

Value = TypeVar("Value")
Read = Callable[[RepoId, Commit, RelPath, int], bytes]
LARGEST = 64 * 2**20  # bytes; what is larger belongs into LFS, and would not fit into memory eight times
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Hub:
    """An endpoint to lock from.

    Attributes:
        read: a whole small file of a repository at a commit, at most so many bytes.
    """

    api: HubApi
    read: Read


@dataclass(slots=True)
class SmallFiles:
    """The files of one snapshot as far as they were read.

    Attributes:
        documents: contents of the JSON documents that the rules look at.
    """

    hub: Hub
    snapshot: RemoteSnapshot
    known: Mapping[tuple[str, str | None, int], Digest]
    documents: dict[RelPath, bytes] = field(default_factory=dict)

    def read_documents(self, paths: Iterable[RelPath]) -> None:
        """Read the documents among the paths."""
        wanted = [file for file in self._listed(paths) if is_document(file.path, file.size)]
        for file, data in zip(wanted, self._all(self._checked, wanted), strict=True):
            self.documents[file.path] = data

    def entries(self, paths: Iterable[RelPath]) -> tuple[FileEntry, ...]:
        """The locked form of files. Raises VerificationFailed for bytes that are not the listed ones."""
        return tuple(self._all(self._entry, self._listed(paths)))

    def _listed(self, paths: Iterable[RelPath]) -> list[RemoteFile]:
        wanted = set(paths)
        return [file for file in self.snapshot.files if file.path in wanted]

    def _all(self, function: Callable[[RemoteFile], Value], files: list[RemoteFile]) -> list[Value]:
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="lock")
        try:
            return list(pool.map(function, files))
        finally:
            pool.shutdown(cancel_futures=True)

    def _entry(self, file: RemoteFile) -> FileEntry:
        if file.sha256 is not None:
            return FileEntry(file.path, file.size, file.sha256)
        digest = self.known.get((file.path, file.git_sha1, file.size)) if file.git_sha1 else None
        if digest is None:
            data = self.documents.get(file.path)
            digest = _sha256(self._checked(file) if data is None else data)
        return FileEntry(file.path, file.size, digest, file.git_sha1)

    def _checked(self, file: RemoteFile) -> bytes:
        repo, commit = self.snapshot.repo, self.snapshot.commit
        if file.size > LARGEST:
            raise InvalidInput(
                f"{repo}: {file.path} has {file.size} bytes and the endpoint gives no sha256 for it.",
                hint="Lock from an endpoint that lists LFS digests, such as https://huggingface.co.",
            )
        what = f"{repo}: {file.path}"
        data = self.hub.api.patiently(what, lambda: self.hub.read(repo, commit, file.path, file.size))
        if not _matches(file, data):
            raise VerificationFailed(
                f"{what} is not what the Hub lists at commit {commit}.",
                hint="Something on the way changes bytes: check the proxy, then lock again.",
            )
        return data


def known_digests(model: Model | None) -> dict[tuple[str, str | None, int], Digest]:
    """What was computed before and needs no second read: digests by path, git sha1 and size."""
    files = model.files if model else ()
    return {(file.path, file.git_sha1, file.size): file.sha256 for file in files if file.git_sha1}


def _matches(file: RemoteFile, data: bytes) -> bool:
    if len(data) != file.size:
        return False
    if file.sha256 is not None:
        return _sha256(data) == file.sha256
    return file.git_sha1 is None or git_blob_id(data) == file.git_sha1


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())
