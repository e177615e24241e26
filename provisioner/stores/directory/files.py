"""Small durable steps on a file system, with its errors in our words."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from provisioner.errors import NotFound, ProvisionError, StoreError, StoreFull, Unavailable

# Dirty pages of a network mount count against a pod's memory (kserve#5162), so they are written out as we go.
FLUSH = 64 * 2**20

FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
# SMB gives the same answer for a file that somebody has open and for missing rights.
IN_USE = {*_DENIED, errno.EBUSY}
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # seconds; a client closes for good up to a second after its reader did
_PASSING = {errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN}


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turns OSError into StoreFull, StoreError, NotFound or Unavailable, by its number."""
    try:
        yield
    except OSError as error:
        raise failure(error, str(error.filename or path)) from error


def failure(error: OSError, path: str) -> ProvisionError:
    """The failure of one file operation."""
    if error.errno in FULL:
        return StoreFull(
            f"No space is left for {path}.",
            hint="Enlarge the volume or free space, then run again; what was verified is kept.",
        )
    if error.errno == errno.EROFS:
        return StoreError(f"{path} is on a read-only file system.", hint="Mount the volume read-write for the writer.")
    if error.errno in _DENIED:
        return StoreError(
            f"{path} is not accessible to uid {os.getuid()}, gid {os.getgid()}.",
            hint="In a pod set fsGroup (block volumes) or the mount's uid, gid and modes (NFS, SMB).",
        )
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFound(f"{path} does not exist.")
    if error.errno in _PASSING:
        return Unavailable(f"{path}: {error.strerror}.", hint="The file server did not answer; run again.")
    return StoreError(f"{path}: {error.strerror or error}.")


def unique(stem: str) -> str:
    """A name that no other process uses."""
    return f"{stem}.{secrets.token_hex(6)}"


def make_folder(path: str, mode: int | None) -> None:
    """One folder, there already or not; `mode` beats the umask."""
    with suppress(FileExistsError):
        os.mkdir(path)
        if mode is not None:
            with suppress(OSError):  # some mounts fix all modes and refuse, which the probe finds out
                os.chmod(path, mode)


def create(path: str) -> int:
    """A new file open for reading and writing. Raises FileExistsError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write everything at an offset, however little the system takes at once."""
    view = memoryview(data)
    while view:
        count = os.pwrite(fd, view, offset)
        view, offset = view[count:], offset + count


def replace_file(path: str, content: bytes, mode: int | None) -> None:
    """The file's new content, there whole or not at all, and durable."""
    temporary = unique(path)
    try:
        fd = create(temporary)
        try:
            write_all(fd, content, 0)
            if mode is not None:
                with suppress(OSError):
                    os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        _take_the_place(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))


def _take_the_place(temporary: str, path: str) -> None:
    """Rename over a file; over SMB that is refused as long as a reader has the old one open, which is not long."""
    for pause in PAUSES:
        try:
            return os.replace(temporary, path)
        except OSError as error:
            if error.errno not in IN_USE or not os.path.lexists(path):
                raise
        time.sleep(pause)
    return os.replace(temporary, path)


def sync(path: str) -> None:
    """Make a file's bytes durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make a folder's names durable, where the file system can."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some FUSE file systems know no such thing
            raise
    finally:
        os.close(fd)


def read_small(path: str, limit: int = 256 * 2**20) -> bytes:
    """A whole regular file. Raises OSError, and StoreError when it is larger than anything we write."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise StoreError(f"{path} is too large to be ours.")
    return data
