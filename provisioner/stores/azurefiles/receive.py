"""Bytes from a source into a file of a share: hashed in order as they pass, sent range by range, several at once.

The file has its whole size from the beginning; what was written of it is what the service lists as its ranges, and
survives a killed process. Those bytes count for nothing until the whole file was hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from provisioner.errors import ProvisionError, Unavailable
from provisioner.model import TreeEntry
from provisioner.ports.source import Stream
from provisioner.ports.store import Advance, Pull
from provisioner.stores.azurefiles.reading import hash_prefix
from provisioner.stores.azurefiles.share import RANGE, WRITTEN, Share
from provisioner.stores.blocks.budget import Block, Budget
from provisioner.stores.blocks.ordered import in_order

SECTOR = 512  # the service lists ranges rounded to whole sectors, so ours end at one


@dataclass(frozen=True, slots=True)
class Filled:
    """A block as far as the source filled it.

    Attributes:
        failure: why it is not full, to be raised once its bytes are safe.
    """

    block: Block
    count: int
    failure: BaseException | None = None


def fill(stream: Stream, block: Block) -> Filled:
    """Read until a block is full or the stream fails."""
    count = 0
    try:
        while count < len(block.bytes):
            came = stream.readinto(block.bytes[count:])
            if not came:
                raise Unavailable("A stream ended early.")
            count += came
    except BaseException as error:
        return Filled(block, count, error)
    return Filled(block, count)


@dataclass
class Receiver:
    """One file on its way in, once: its name is nobody else's, and not that of an earlier try.

    Attributes:
        safe: bytes from the start that the service has for certain.
    """

    share: Share
    path: str
    entry: TreeEntry
    budget: Budget
    pool: Executor
    safe: int = 0

    def receive(self, pull: Pull, advance: Advance, connections: int) -> str:
        """Fill the file from `safe` on; the sha256 of all of it in hex. Raises what the pull and the share raise."""
        if connections > 1:
            self.safe -= self.safe % SECTOR
        start, size = self.safe, self.entry.size
        digest = hash_prefix(self.share, self.path, start, self.budget, advance)
        ranges = _Ranges(self.share, self.path, self.pool)
        try:
            with self._blocks(pull, start, size, connections) as blocks:
                for one in blocks:
                    digest.update(one.block.bytes[: one.count])
                    ranges.send(one)
                    advance(one.count)
                    if failure := one.failure or ranges.failure:
                        raise failure
        finally:
            self._settle(ranges, start)
        if ranges.failure:
            raise ranges.failure
        return digest.hexdigest()

    @contextmanager
    def _blocks(self, pull: Pull, start: int, size: int, connections: int) -> Iterator[Iterator[Filled]]:
        if connections > 1:
            with in_order(pull.open, size, RANGE, connections, self.budget, start) as blocks:
                yield (Filled(block, len(block.bytes)) for block in blocks)
        elif start < size:
            with pull.open(start, size) as stream:
                yield self._one_by_one(stream, start, size)
        else:
            yield iter(())

    def _one_by_one(self, stream: Stream, start: int, size: int) -> Iterator[Filled]:
        while start < size:
            stop = min((start // RANGE + 1) * RANGE, size)
            yield fill(stream, self.budget.take(start, stop - start))
            start = stop

    def _settle(self, ranges: _Ranges, start: int) -> None:
        """Wait for what is on its way, and note where the gapless part ends when its last sector is not whole."""
        self.safe = ranges.settle(start)
        if self.safe % SECTOR and self.safe < self.entry.size:
            try:
                self.share.mark(self.path, {WRITTEN: str(self.safe)})
            except ProvisionError:  # a failure is on its way already
                self.safe -= self.safe % SECTOR


@dataclass
class _Ranges:
    """The ranges of one file in flight."""

    share: Share
    path: str
    pool: Executor
    sent: list[tuple[int, Future[None]]] = field(default_factory=list)  # where each ends
    failure: BaseException | None = None

    def send(self, one: Filled) -> None:
        """Write a block's bytes, by and by; the block is given back."""
        if not one.count:
            one.block.release()
            return
        self.sent.append((one.block.start + one.count, self.pool.submit(self._send, one)))

    def _send(self, one: Filled) -> None:
        try:
            if self.failure:
                raise self.failure
            self.share.write_range(self.path, one.block.start, one.block.bytes[: one.count])
        except BaseException as error:  # raised again by the thread that hashes
            self.failure = self.failure or error
            raise
        finally:
            one.block.release()

    def settle(self, start: int) -> int:
        """Wait for all of them; where those that went well without a gap end."""
        failed = False
        for stop, future in self.sent:
            failed = failed or future.exception() is not None
            start = start if failed else stop
            future.exception()
        return start


@dataclass
class Counted:
    """Bytes that were reported, so that they can be taken back."""

    report: Advance
    bytes: int = 0

    def advance(self, count: int) -> None:
        """Count."""
        self.bytes += count
        self.report(count)

    def take_back(self) -> None:
        """They were for nothing."""
        if self.bytes:
            self.report(-self.bytes)
        self.bytes = 0


def digest_of(data: memoryview) -> str:
    """sha256 in hex."""
    return hashlib.sha256(data).hexdigest()
