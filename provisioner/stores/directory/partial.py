"""A file that is not whole yet, and what is known about its bytes."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from provisioner.hashing import new_buffer
from provisioner.stores.directory.files import create, read_small, write_all

SEGMENT = 32 * 2**20
RANGES = ".ranges"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A partial file of an earlier run.

    Attributes:
        free: its process is certainly gone, so the file may be taken; else it is only read.
    """

    path: str
    free: bool

    def is_ours(self) -> bool:
        """Whether it may be written to: a file that a release has too (a second name of it) never."""
        with suppress(OSError):
            found = os.lstat(self.path)
            return self.free and stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        return False

    def bytes(self) -> int:
        """How many bytes can be used again."""
        return sum(stop - start for start, stop in self.extents())

    def extents(self) -> list[tuple[int, int]]:
        """The parts that were written."""
        size = _size(self.path)
        if (marks := _marks(self.path)) is None:
            return [(0, size)] if size else []
        return [(i * SEGMENT, min((i + 1) * SEGMENT, size)) for i in sorted(marks) if i * SEGMENT < size]


class Partial:
    """An open partial file; written by this process alone."""

    def __init__(self, path: str, leftover: Leftover | None) -> None:
        self.path = path
        self._marks_fd: int | None = None
        # It is there when another source failed before, in this same build.
        if os.path.lexists(path) or (leftover is not None and leftover.is_ours() and _take(leftover, path)):
            os.chmod(path, 0o600)  # it may have been killed after it got its read-only mode
            self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            return
        self.fd = create(path)
        if leftover is not None:
            self._copy(leftover)

    def _copy(self, leftover: Leftover) -> None:
        """Its process may still write to it, so its bytes are copied: nobody else may hold what we verify."""
        with suppress(FileNotFoundError):
            source = os.open(leftover.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                for start, stop in leftover.extents():
                    _copy_extent(source, self.fd, start, stop)
            finally:
                os.close(source)
            if (marks := _marks(leftover.path)) is not None:
                for index in marks:
                    self.mark(index)

    def is_begun(self) -> bool:
        """Whether there are bytes from an earlier attempt."""
        return os.fstat(self.fd).st_size > 0

    def prefix(self) -> int:
        """Bytes from the start without a gap."""
        size = os.fstat(self.fd).st_size
        if not size or (marks := _marks(self.path)) is None:
            return size
        gap = next(index for index in range(len(marks) + 1) if index not in marks)
        return min(gap * SEGMENT, size)

    def segments(self) -> set[int]:
        """Indices of the whole segments."""
        if (marks := _marks(self.path)) is not None:
            return marks
        whole = set(range(self.prefix() // SEGMENT))
        open(self.path + RANGES, "ab").close()  # from now on the size says nothing
        for index in whole:
            self.mark(index)
        return whole

    def mark(self, index: int) -> None:
        """Note that a segment is whole."""
        if self._marks_fd is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._marks_fd = os.open(self.path + RANGES, flags, 0o600)
        os.write(self._marks_fd, f"{index}\n".encode())

    def truncate(self) -> None:
        """Forget everything."""
        os.ftruncate(self.fd, 0)
        self._close_marks()
        with suppress(FileNotFoundError):
            os.unlink(self.path + RANGES)

    def close(self) -> None:
        """Close; the bytes stay."""
        os.close(self.fd)
        self._close_marks()

    def _close_marks(self) -> None:
        if self._marks_fd is not None:
            os.close(self._marks_fd)
            self._marks_fd = None

    def forget_marks(self) -> None:
        """The file is whole: nobody needs to know its segments."""
        with suppress(FileNotFoundError):
            os.unlink(self.path + RANGES)

    def discard(self) -> None:
        """Delete bytes that were not the locked ones."""
        os.unlink(self.path)
        self.forget_marks()


def _take(leftover: Leftover, path: str) -> bool:
    """Rename it to ours; False when somebody else was quicker."""
    try:
        with suppress(FileNotFoundError):
            os.rename(leftover.path + RANGES, path + RANGES)
        os.rename(leftover.path, path)
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            os.unlink(path + RANGES)
        return False
    return True


def _copy_extent(source: int, target: int, start: int, stop: int) -> None:
    buffer = new_buffer()
    while start < stop and (count := os.preadv(source, [buffer[: stop - start]], start)):
        write_all(target, buffer[:count], start)
        start += count


def _marks(path: str) -> set[int] | None:
    """The whole segments of a file that is received by ranges; None for one received in order."""
    try:
        lines = read_small(path + RANGES, 16 * 2**20).split(b"\n")
    except FileNotFoundError:
        return None
    return {int(line) for line in lines[:-1] if line.isdigit()}  # a torn last line has no newline


def _size(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_size
    return 0
