"""A release in a bucket against its record: every finding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from provisioner.errors import NotFound, Unavailable
from provisioner.model import Tree, TreeEntry
from provisioner.ports.store import Advance
from provisioner.record import LOCK_NAME, RECORD_NAME
from provisioner.report import Evidence, Finding, Kind
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.objects.bucket import Bucket
from provisioner.stores.objects.keys import Keys
from provisioner.stores.objects.reading import hash_object

READERS = 16  # objects that are read or asked about at once

Look = Callable[[TreeEntry], Finding | None]


def sizes(bucket: Bucket, keys: Keys, release: str) -> dict[str, int]:
    """Path -> size of everything below a release, by one listing."""
    top = keys.release(release)
    return {one.key.removeprefix(top): one.size for one in bucket.list(top)}


def by_listing(found: dict[str, int], tree: Tree) -> Iterator[Finding]:
    """What a listing alone says against a tree."""
    for entry in tree.entries:
        if finding := _listed(found, entry):
            yield finding


def _listed(found: dict[str, int], entry: TreeEntry) -> Finding | None:
    if (size := found.get(entry.path)) is None:
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    if size != entry.size:
        return Finding(Kind.SIZE, entry.path, f"{size} bytes, the lock says {entry.size}")
    return None


def extras(found: dict[str, int], tree: Tree) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """What is there and not in the tree, folder by folder, with its paths."""
    folders = {parent for entry in tree.entries for parent in entry.path.parents}
    expected = {str(entry.path) for entry in tree.entries} | {RECORD_NAME, LOCK_NAME}
    groups: dict[str, list[str]] = {}
    for path, size in found.items():
        # Consoles and FUSE mounts leave an empty `folder/` where they show a folder.
        if path not in expected and not (path.endswith("/") and not size and path.rstrip("/") in folders):
            groups.setdefault(_topmost(path, folders), []).append(path)
    for top, paths in sorted(groups.items()):
        kind = "file" if paths == [top] else "folder"
        yield Finding(Kind.EXTRA, _shown(top), f"a {kind} that is not in the lock"), tuple(paths)


def _shown(path: str) -> str:
    """For a terminal, which would obey the escapes in a key that somebody else has made up."""
    return path if path.isprintable() else path.encode("unicode_escape").decode()


def _topmost(path: str, folders: set[str]) -> str:
    """The outermost folder of a path that no locked file is in, else the path."""
    steps = path.split("/")
    for count in range(1, len(steps)):
        if (folder := "/".join(steps[:count])) not in folders:
            return folder
    return path


def check(
    bucket: Bucket, keys: Keys, release: str, tree: Tree, evidence: Evidence, budget: Budget, advance: Advance
) -> Iterator[Finding]:
    """Everything that speaks against a release holding exactly this tree."""
    found = sizes(bucket, keys, release)
    yield from (finding for finding, _ in extras(found, tree))
    whole = []
    for entry in tree.entries:
        if finding := _listed(found, entry):
            advance(entry.size)
            yield finding
        elif evidence is Evidence.SIZE_ONLY:
            advance(entry.size)
        else:
            whole.append(entry)
    looks: dict[Evidence, Look] = {
        Evidence.RECORDED: lambda entry: _recorded(bucket, keys.file(release, entry.path), entry, advance),
        Evidence.REHASHED: lambda entry: _rehashed(bucket, keys.file(release, entry.path), entry, budget, advance),
    }
    if whole:
        yield from _each(whole, looks[evidence], lambda entry: bucket.stat(keys.file(release, entry.path)))


def _each(entries: list[TreeEntry], look: Look, ask: Callable[[TreeEntry], object]) -> Iterator[Finding]:
    largest_first = sorted(entries, key=lambda entry: -entry.size)
    with ThreadPoolExecutor(READERS, thread_name_prefix="check") as pool:
        try:
            for future in as_completed([pool.submit(_judged, entry, look, ask) for entry in largest_first]):
                if finding := future.result():
                    yield finding
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _judged(entry: TreeEntry, look: Look, ask: Callable[[TreeEntry], object]) -> Finding | None:
    """A file that cannot be read is a finding; a store that does not answer, or lets nobody in, is none."""
    try:
        return look(entry)
    except NotFound:
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    except Unavailable as error:
        ask(entry)  # a store that notices damage itself answers everything but the bytes
        return Finding(Kind.UNREADABLE, entry.path, str(error))


def _recorded(bucket: Bucket, key: str, entry: TreeEntry, advance: Advance) -> Finding | None:
    stat = bucket.stat(key)
    advance(entry.size)
    if stat.sha256 != entry.sha256:
        found = f"sha256 {_shown(stat.sha256)}" if stat.sha256 else "no sha256"
        return Finding(Kind.DIGEST, entry.path, f"its metadata says {found}, the lock says {entry.sha256}")
    return None


def _rehashed(bucket: Bucket, key: str, entry: TreeEntry, budget: Budget, advance: Advance) -> Finding | None:
    found = hash_object(bucket, key, entry.size, budget, advance)
    if found != entry.sha256:
        return Finding(Kind.DIGEST, entry.path, f"sha256 {found}, the lock says {entry.sha256}")
    return None
