"""A release in a share against its record: every finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from provisioner.errors import NotFound
from provisioner.model import Tree, TreeEntry
from provisioner.ports.store import Advance
from provisioner.record import LOCK_NAME, RECORD_NAME
from provisioner.report import Evidence, Finding, Kind
from provisioner.stores.azurefiles.reading import hash_prefix
from provisioner.stores.azurefiles.share import SHA256, Share
from provisioner.stores.azurefiles.walking import WORKERS, Found, join, walk
from provisioner.stores.blocks.budget import Budget

_OURS = {RECORD_NAME, LOCK_NAME}
Look = Callable[[TreeEntry], Finding | None]


def check(
    share: Share, folder: str, tree: Tree, evidence: Evidence, budget: Budget, advance: Advance
) -> Iterator[Finding]:
    """Everything that speaks against a release folder holding exactly this tree."""
    try:
        found = walk(share, folder)
    except NotFound:
        found = Found()
    yield from extras(found, tree)
    whole = []
    for entry in tree.entries:
        if finding := inspect(found, entry):
            advance(entry.size)
            yield finding
        elif evidence is Evidence.SIZE_ONLY:
            advance(entry.size)
        else:
            whole.append(entry)
    looks: dict[Evidence, Look] = {
        Evidence.RECORDED: lambda entry: _recorded(share, folder, entry, advance),
        Evidence.REHASHED: lambda entry: _rehashed(share, folder, entry, budget, advance),
    }
    if whole:
        yield from _each(whole, looks[evidence])


def inspect(found: Found, entry: TreeEntry) -> Finding | None:
    """Type and size of one path."""
    if entry.path in found.folders:
        return Finding(Kind.WRONG_TYPE, entry.path, "a folder, not a regular file")
    if (size := found.files.get(entry.path)) is None:
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    if size != entry.size:
        return Finding(Kind.SIZE, entry.path, f"{size} bytes, the lock says {entry.size}")
    return None


def extras(found: Found, tree: Tree) -> Iterator[Finding]:
    """What is in the folder and not in the tree; of a folder only its own name."""
    expected = {str(entry.path) for entry in tree.entries} | _OURS
    folders = {parent for entry in tree.entries for parent in entry.path.parents}
    for path in sorted(found.files.keys() | found.folders):
        if path in expected or path.rpartition("/")[0] not in folders | {""}:
            continue
        if path in found.files and path in folders:
            yield Finding(Kind.WRONG_TYPE, path, "not a folder")
        elif path not in folders:
            kind = "folder" if path in found.folders else "file"
            yield Finding(Kind.EXTRA, path, f"a {kind} that is not in the lock")


def _each(entries: list[TreeEntry], look: Look) -> Iterator[Finding]:
    largest_first = sorted(entries, key=lambda entry: -entry.size)
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="check")
    try:
        for future in as_completed([pool.submit(look, entry) for entry in largest_first]):
            if finding := future.result():
                yield finding
    finally:
        pool.shutdown(cancel_futures=True)


def _recorded(share: Share, folder: str, entry: TreeEntry, advance: Advance) -> Finding | None:
    try:
        recorded = share.stat(join(folder, entry.path)).metadata.get(SHA256, "")
    except NotFound:
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    advance(entry.size)
    if recorded != entry.sha256:
        found = f"sha256 {recorded}" if recorded else "no sha256"
        return Finding(Kind.DIGEST, entry.path, f"its metadata says {found}, the lock says {entry.sha256}")
    return None


def _rehashed(share: Share, folder: str, entry: TreeEntry, budget: Budget, advance: Advance) -> Finding | None:
    try:
        found = hash_prefix(share, join(folder, entry.path), entry.size, budget, advance).hexdigest()
    except NotFound:
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    if found != entry.sha256:
        return Finding(Kind.DIGEST, entry.path, f"sha256 {found}, the lock says {entry.sha256}")
    return None
