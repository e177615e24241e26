"""What a file system can do, found by trying: an errno alone does not tell."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from provisioner.errors import StoreError
from provisioner.ports.store import Capabilities
from provisioner.stores.directory.files import create, sync, sync_folder, translated, unique, write_all
from provisioner.stores.directory.places import Places


def probe(places: Places) -> tuple[Capabilities, float]:
    """Try everything a build needs; also the file system's clock, seconds since the epoch.

    Raises StoreError naming what cannot be done.
    """
    folder = unique(os.path.join(places.staging, "probe"))
    with translated(places.root):
        os.mkdir(folder)
    try:
        with translated(folder):
            now = _writes_and_renames(folder)
            return Capabilities(_links(folder), _chmods(folder), free_bytes(folder)), now
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _writes_and_renames(folder: str) -> float:
    first, second = os.path.join(folder, "a"), os.path.join(folder, "b")
    for path, content in ((first, b"first"), (second, b"second")):
        fd = create(path)
        try:
            write_all(fd, content, 0)
        finally:
            os.close(fd)
    sync(first)
    os.replace(first, second)
    sync_folder(folder)
    if _content(second) != b"first" or os.path.exists(first):
        raise StoreError(
            f"{folder}: replacing a file by a rename does not work.", hint="Use a file system with atomic rename."
        )
    os.mkdir(os.path.join(folder, "c"))
    os.rename(os.path.join(folder, "c"), os.path.join(folder, "d"))
    return os.stat(second).st_mtime


def _links(folder: str) -> bool:
    """Whether one file can have two names, and be open under both.

    Linux on SMB takes one lease for both names, and Samba and Windows refuse the second open with EINVAL. Only a file
    that was not opened under an earlier name shows it.
    """
    source, target = os.path.join(folder, "e"), os.path.join(folder, "f")
    with suppress(OSError):
        os.close(create(source))
        os.link(source, target)
        with open(source, "rb"), open(target, "rb"):
            return os.stat(target).st_ino == os.stat(source).st_ino
    return False


def _chmods(folder: str) -> bool:
    path = os.path.join(folder, "b")
    with suppress(OSError):
        for mode in (0o640, 0o644):
            os.chmod(path, mode)
            if os.stat(path).st_mode & 0o777 != mode:
                return False
        return True
    return False


def untried(root: str) -> Capabilities:
    """What is known of a store that is not there yet: the room of the file system it would be on."""
    while not os.path.exists(root):
        root = os.path.dirname(root)
    return Capabilities(hard_links=True, chmod=True, free=free_bytes(root))


def free_bytes(path: str) -> int | None:
    """Bytes this user may still write, or None where the file system says nothing useful."""
    try:
        numbers = os.statvfs(path)
    except OSError:
        return None
    return numbers.f_bavail * numbers.f_frsize if numbers.f_blocks else None


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
