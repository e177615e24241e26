"""Bytes from a source into a partial file: in order, or by ranges with the hash trailing behind.

A partial file survives a killed process. Its bytes count for nothing until the whole file was hashed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from provisioner.hashing import hash_range, new_buffer
from provisioner.ports.source import RangesIgnored
from provisioner.ports.store import Advance, Pull
from provisioner.stores.directory.files import FLUSH, write_all
from provisioner.stores.directory.partial import SEGMENT, Partial


def receive(partial: Partial, size: int, pull: Pull, advance: Advance, connections: int) -> str:
    """Fill a partial file up to `size` bytes; the sha256 of all of it in hex.

    Raises what the pull raises, and OSError.
    """
    if connections > 1 and size > SEGMENT:
        try:
            return _by_ranges(partial, size, pull, advance, connections)
        except RangesIgnored:
            pass
    return _in_order(partial, size, pull, advance)


def _in_order(partial: Partial, size: int, pull: Pull, advance: Advance) -> str:
    start = min(partial.prefix(), size)
    digest = hash_range(partial.fd, 0, start, advance)
    try:
        _append(partial.fd, start, size, pull, advance, digest)
    except RangesIgnored:  # the source cannot continue in the middle
        partial.truncate()
        advance(-start)
        digest = hashlib.sha256()
        _append(partial.fd, 0, size, pull, advance, digest)
    return digest.hexdigest()


def _append(fd: int, start: int, size: int, pull: Pull, advance: Advance, digest: hashlib._Hash) -> None:
    if start == size:
        return
    buffer, offset, flushed = new_buffer(), start, start
    with pull.open(start, size) as stream:
        while offset < size:
            count = stream.readinto(buffer[: size - offset])
            digest.update(buffer[:count])
            write_all(fd, buffer[:count], offset)
            offset += count
            advance(count)
            if offset - flushed >= FLUSH:
                os.fdatasync(fd)
                flushed = offset


@dataclass
class _Ranges:
    """What the threads of one file share."""

    partial: Partial
    size: int
    pull: Pull
    advance: Advance
    todo: SimpleQueue[int] = field(default_factory=SimpleQueue)
    done: set[int] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    failure: BaseException | None = None

    def bounds(self, index: int) -> tuple[int, int]:
        return index * SEGMENT, min((index + 1) * SEGMENT, self.size)


def _by_ranges(partial: Partial, size: int, pull: Pull, advance: Advance, connections: int) -> str:
    work = _Ranges(partial, size, pull, advance, done=partial.segments())
    count = -(-size // SEGMENT)
    for index in range(count):
        if index in work.done:
            start, stop = work.bounds(index)
            advance(stop - start)
        else:
            work.todo.put(index)
    with ThreadPoolExecutor(connections, thread_name_prefix="range") as pool:
        for _ in range(min(connections, work.todo.qsize())):
            pool.submit(_fill, work)
        return _trail(work, count)


def _trail(work: _Ranges, count: int) -> str:
    """Hash the segments in order, each as soon as it is there; they are still in the page cache."""
    digest = hashlib.sha256()
    for index in range(count):
        with work.changed:
            work.changed.wait_for(lambda: index in work.done or work.failure)  # noqa: B023  # used at once
        if work.failure:
            raise work.failure
        try:
            hash_range(work.partial.fd, *work.bounds(index), lambda _: None, digest)
        except BaseException as error:
            _fail(work, error)
            raise
    return digest.hexdigest()


def _fill(work: _Ranges) -> None:
    """One connection: segment after segment until none is left or one fails."""
    try:
        while not work.failure:
            index = work.todo.get_nowait()
            _segment(work, *work.bounds(index))
            work.partial.mark(index)
            with work.changed:
                work.done.add(index)
                work.changed.notify_all()
    except Empty:
        return
    except BaseException as error:  # it is raised again by the thread that hashes
        _fail(work, error)


def _fail(work: _Ranges, error: BaseException) -> None:
    with work.changed:
        work.failure = work.failure or error
        work.changed.notify_all()


def _segment(work: _Ranges, start: int, stop: int) -> None:
    buffer, offset, begin = new_buffer(), start, start
    with work.pull.open(start, stop) as stream:
        while offset < stop and not work.failure:
            count = stream.readinto(buffer[: stop - offset])
            write_all(work.partial.fd, buffer[:count], offset)
            offset += count
            work.advance(count)
    if offset < stop and work.failure:
        work.advance(begin - offset)
        raise work.failure
    os.fdatasync(work.partial.fd)
