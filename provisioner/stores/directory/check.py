"""A release on disk against its record: every finding, hashing on all cores."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from provisioner.hashing import hash_range
from provisioner.model import Tree, TreeEntry
from provisioner.ports.store import Advance
from provisioner.record import LOCK_NAME, RECORD_NAME
from provisioner.report import Evidence, Finding, Kind

_OURS = {RECORD_NAME, LOCK_NAME}


def check(folder: str, tree: Tree, evidence: Evidence, advance: Advance) -> Iterator[Finding]:
    """Everything that speaks against a release folder holding exactly this tree."""
    yield from extras(folder, tree)
    if evidence is not Evidence.REHASHED:
        for entry in tree.entries:
            finding = inspect(folder, entry)
            advance(entry.size)
            if finding:
                yield finding
        return
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="hash") as pool:
        largest_first = sorted(tree.entries, key=lambda entry: -entry.size)
        for future in as_completed([pool.submit(_rehash, folder, e, advance) for e in largest_first]):
            if finding := future.result():
                yield finding


def inspect(folder: str, entry: TreeEntry) -> Finding | None:
    """Type and size of one path."""
    try:
        found = os.lstat(os.path.join(folder, entry.path))
    except OSError as error:
        return _unreachable(entry, error)
    if not stat.S_ISREG(found.st_mode):
        return Finding(Kind.WRONG_TYPE, entry.path, f"a {_type(found.st_mode)}, not a regular file")
    if found.st_size != entry.size:
        return Finding(Kind.SIZE, entry.path, f"{found.st_size} bytes, the lock says {entry.size}")
    return None


def _rehash(folder: str, entry: TreeEntry, advance: Advance) -> Finding | None:
    if finding := inspect(folder, entry):
        advance(entry.size)
        return finding
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(os.path.join(folder, entry.path), flags)
        try:
            found = hash_range(fd, 0, entry.size + 1, advance).hexdigest()
        finally:
            os.close(fd)
    except OSError as error:
        return _unreachable(entry, error)
    if found != entry.sha256:
        return Finding(Kind.DIGEST, entry.path, f"sha256 {found}, the lock says {entry.sha256}")
    return None


def _unreachable(entry: TreeEntry, error: OSError) -> Finding:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Finding(Kind.MISSING, entry.path, f"{entry.size} bytes expected")
    return Finding(Kind.UNREADABLE, entry.path, f"{error.strerror} for uid {os.getuid()}")


def extras(folder: str, tree: Tree) -> Iterator[Finding]:
    """What is in the folder and not in the tree."""
    if os.path.islink(folder):
        yield Finding(Kind.WRONG_TYPE, ".", "the release is a symbolic link, not a folder")
    expected = {str(entry.path) for entry in tree.entries} | _OURS
    folders = {parent for entry in tree.entries for parent in entry.path.parents}
    yield from _extras(folder, "", expected, folders)


def _extras(folder: str, prefix: str, expected: set[str], folders: set[str]) -> Iterator[Finding]:
    try:
        with os.scandir(os.path.join(folder, prefix)) as listing:
            children = sorted(listing, key=lambda child: child.name)
    except OSError as error:
        yield Finding(Kind.UNREADABLE, prefix or ".", f"{error.strerror} for uid {os.getuid()}")
        return
    for child in children:
        path = prefix + child.name
        if path in expected:
            continue
        if child.is_dir(follow_symlinks=False) and path in folders:
            yield from _extras(folder, path + "/", expected, folders)
        elif path in folders:
            yield Finding(Kind.WRONG_TYPE, path, "not a folder")
        else:
            kind = "folder" if child.is_dir(follow_symlinks=False) else "file"
            yield Finding(Kind.EXTRA, path, f"a {kind} that is not in the lock")


def _type(mode: int) -> str:
    names = {stat.S_ISLNK: "symbolic link", stat.S_ISDIR: "folder", stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket"}
    return next((name for test, name in names.items() if test(mode)), "device")
