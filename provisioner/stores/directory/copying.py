"""Bytes that the store already has, into a build: re-hashed always, linked where that is possible."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from provisioner.errors import NotFound, VerificationFailed
from provisioner.hashing import hash_range, new_buffer
from provisioner.model import TreeEntry
from provisioner.ports.store import Advance
from provisioner.stores.directory.files import FLUSH, create, write_all

_NO_LINK = {errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}


def open_regular(path: str) -> int:
    """A regular file for reading, never through a link. Raises OSError, NotFound for anything else."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"{path} is not a regular file.")
    return fd


Identity = tuple[int, int]


def inside(root: str, place: str) -> str:
    """The path of a place in a store. Raises NotFound when a symbolic link on the way leads elsewhere."""
    path = os.path.join(os.path.realpath(root), place)
    if os.path.realpath(path) != path:
        raise NotFound(f"{path} is not a file of this store: a symbolic link is on the way.")
    return path


def check_file(path: str, entry: TreeEntry, advance: Advance) -> Identity:
    """Hash a file; which one it was. Raises VerificationFailed when it is not the locked one."""
    fd = open_regular(path)
    try:
        _compare(path, hash_range(fd, 0, entry.size + 1, advance).hexdigest(), entry)
        found = os.fstat(fd)
        return found.st_dev, found.st_ino
    finally:
        os.close(fd)


def require_same(path: str, seen: Identity) -> None:
    """What was linked or renamed must be what was hashed. Raises NotFound; the path is then gone again."""
    found = os.lstat(path)
    if (found.st_dev, found.st_ino) != seen:
        os.unlink(path)
        raise NotFound(f"{path} was exchanged while it was hashed.")


def require_content(path: str, seen: Identity, entry: TreeEntry) -> None:
    """What was renamed must be what was hashed, or be hashed again: rclone's mount numbers a file anew at a rename.

    Raises VerificationFailed; the path is then gone again.
    """
    found = os.lstat(path)
    if (found.st_dev, found.st_ino) == seen:
        return
    try:
        check_file(path, entry, lambda _: None)
    except BaseException:
        os.unlink(path)
        raise


def copy_file(source: str, target: str, entry: TreeEntry, advance: Advance) -> None:
    """Copy and hash in one pass. Raises VerificationFailed; the target is then gone again."""
    reader = open_regular(source)
    try:
        writer = create(target)
        try:
            digest = _copy(reader, writer, entry.size, advance)
            _compare(source, digest, entry)
        except BaseException:
            os.unlink(target)
            raise
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _copy(reader: int, writer: int, size: int, advance: Advance) -> str:
    digest, buffer, offset, flushed = hashlib.sha256(), new_buffer(), 0, 0
    while offset <= size and (count := os.preadv(reader, [buffer[: size + 1 - offset]], offset)):
        digest.update(buffer[:count])
        write_all(writer, buffer[:count], offset)
        offset += count
        advance(count)
        if offset - flushed >= FLUSH:
            os.fdatasync(writer)
            flushed = offset
    return digest.hexdigest()


def _compare(path: str, found: str, entry: TreeEntry) -> None:
    if found != entry.sha256:
        raise VerificationFailed(f"{path} does not have the locked content of {entry.label}.")


def link(source: str, target: str) -> bool:
    """A second name for a file; False where the file system will not."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    return True
