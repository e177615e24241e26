"""The blocks of a file in order, read by one connection or ahead by several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from provisioner.errors import Unavailable
from provisioner.ports.source import Stream
from provisioner.stores.blocks.budget import Block, Budget

Open = Callable[[int, int], AbstractContextManager[Stream]]  # start, stop


@contextmanager
def in_order(
    opened: Open, size: int, block: int, connections: int, budget: Budget, start: int = 0
) -> Iterator[Iterator[Block]]:
    """The bytes `start <= offset < size` as blocks of `block` bytes, the last one shorter.

    Whoever takes a block releases it. Raises what `opened` and its streams raise, where the blocks are taken.
    """
    if connections > 1 and size - start > block:
        ahead = _Ahead(opened, size, block, budget, start)
        try:
            with ThreadPoolExecutor(connections, thread_name_prefix="block") as pool:
                try:
                    _start(pool, ahead.work, connections)
                    yield ahead.blocks()
                finally:
                    ahead.stop()
        finally:
            ahead.release()
    else:
        blocks = _one_by_one(opened, start, size, block, budget)
        try:
            yield blocks
        finally:
            blocks.close()


def _start(pool: ThreadPoolExecutor, work: Callable[[], None], most: int) -> None:
    """Go on with as many threads as there may be: a pod's limit of processes may allow fewer."""
    for number in range(most):
        try:
            pool.submit(work)
        except RuntimeError as error:
            if not number:
                raise Unavailable("No thread can be started.", hint="Raise the limit of processes.") from error
            return


def _one_by_one(opened: Open, start: int, size: int, block: int, budget: Budget) -> Generator[Block, None, None]:
    if start >= size:
        return
    with opened(start, size) as stream:
        while start < size:
            taken = budget.take(start, min(block, size - start))
            try:
                fill(stream, taken.bytes)
            except BaseException:
                taken.release()
                raise
            start += len(taken.bytes)
            yield taken


def fill(stream: Stream, buffer: memoryview) -> None:
    """Read until a buffer is full. Raises Unavailable when the stream ends before."""
    offset = 0
    while offset < len(buffer):
        count = stream.readinto(buffer[offset:])
        if not count:
            raise Unavailable("A stream ended early.")
        offset += count


@dataclass
class _Ahead:
    """Threads that read blocks before they are asked for.

    A thread takes memory before it takes a number, so the lowest number that is missing always has its memory: files
    that share a budget cannot wait for each other in a ring.
    """

    opened: Open
    size: int
    block: int
    budget: Budget
    next: int
    ready: dict[int, Block] = field(default_factory=dict)
    failure: BaseException | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    numbering: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self.wanted = self.next

    def work(self) -> None:
        """One thread: block after block until none is left or one fails."""
        try:
            while (taken := self._take()) is not None:
                try:
                    self._read(taken)
                except BaseException:
                    taken.release()
                    raise
                with self.changed:
                    self.ready[taken.start] = taken
                    self.changed.notify_all()
        except BaseException as error:  # raised again where the blocks are taken
            with self.changed:
                self.failure = self.failure or error
                self.changed.notify_all()

    def _take(self) -> Block | None:
        with self.numbering:
            if self.stopped.is_set() or self.failure or self.next >= self.size:
                return None
            taken = self.budget.take(self.next, min(self.block, self.size - self.next))
            if self.stopped.is_set():
                taken.release()
                return None
            self.next += len(taken.bytes)
            return taken

    def _read(self, taken: Block) -> None:
        with self.opened(taken.start, taken.start + len(taken.bytes)) as stream:
            fill(stream, taken.bytes)

    def blocks(self) -> Iterator[Block]:
        """Each block as soon as all before it were taken."""
        while self.wanted < self.size:
            with self.changed:
                self.changed.wait_for(lambda: self.wanted in self.ready or self.failure)
                if self.wanted not in self.ready:
                    assert self.failure is not None
                    raise self.failure
                taken = self.ready.pop(self.wanted)
            self.wanted += len(taken.bytes)
            yield taken

    def stop(self) -> None:
        """No thread begins another block; what nobody took is given back, for a thread may be waiting for it."""
        self.stopped.set()
        self.release()

    def release(self) -> None:
        """Give back what nobody took."""
        with self.changed:
            left, self.ready = list(self.ready.values()), {}
        for taken in left:
            taken.release()
