"""One file into a bucket: hashed as it passes, an object only when the digest was the locked one."""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from provisioner.errors import NotFound, ProvisionError, Unavailable, Unusable, VerificationFailed
from provisioner.model import TreeEntry
from provisioner.ports.source import RangesIgnored
from provisioner.ports.store import Advance, Pull
from provisioner.stores.blocks.budget import BLOCK, Block, Budget
from provisioner.stores.blocks.ordered import in_order
from provisioner.stores.objects.bucket import Bucket, Part, UploadGone
from provisioner.stores.objects.failures import Damaged, Unproved
from provisioner.stores.objects.reading import read_back

SENDERS = 8  # parts of one file in flight at most; the budget bounds all files together
MOST_PARTS = 10_000  # S3's limit
_MIB = 2**20

log = logging.getLogger(__name__)


def part_size(size: int) -> int:
    """Bytes of each part of a file: always the same for one size, so that a later run can go on with the parts."""
    return max(BLOCK, -(-size // (MOST_PARTS * _MIB)) * _MIB)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Puts files into one bucket.

    Attributes:
        unfinished: key -> id of the multipart uploads that can be continued.
    """

    bucket: Bucket
    budget: Budget
    unfinished: dict[str, str]

    def put(self, key: str, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry. Raises VerificationFailed for bytes that are not the locked ones, and what a pull raises."""
        if entry.size <= BLOCK:
            return self._put_whole(key, entry, pull, advance)
        sent = _Sent(advance)
        try:
            return self._put_large(key, entry, pull, sent, connections)
        except UploadGone:  # another run has ended it, and by a whole object if that one was quicker
            sent.take_back()
            with suppress(VerificationFailed, NotFound):
                return read_back(self.bucket, key, entry, self.budget, sent.advance)
            sent.take_back()
            return self._put_large(key, entry, pull, sent, connections)

    def _put_large(self, key: str, entry: TreeEntry, pull: Pull, sent: _Sent, connections: int) -> None:
        try:
            self._put_parts(key, entry, pull, sent, connections)
        except RangesIgnored:  # the source cannot begin in the middle
            sent.take_back()
            self._put_parts(key, entry, pull, sent, 1)

    def _put_whole(self, key: str, entry: TreeEntry, pull: Pull, advance: Advance) -> None:
        with in_order(pull.open, entry.size, BLOCK, 1, self.budget) as blocks:
            block = next(blocks, None)
            content = block.bytes if block else memoryview(b"")
            try:
                _require(entry, hashlib.sha256(content).hexdigest())
                self.bucket.write(key, content, entry.sha256)
            finally:
                if block:
                    block.release()
        advance(entry.size)

    def _put_parts(self, key: str, entry: TreeEntry, pull: Pull, sent: _Sent, connections: int) -> None:
        upload, there = self._begin(key, entry)
        sender = _Sender(self.bucket, key, upload, there, sent)
        try:
            found, parts = self._send_all(sender, entry, pull, connections)
            _require(entry, found)
            with _continuing(there):
                self.bucket.finish(key, upload, parts)
        except (UploadGone, VerificationFailed, Unproved):  # "gone" may mean that the store has other parts
            self.unfinished.pop(key, None)
            with suppress(ProvisionError):
                self.bucket.abandon(key, upload)
            raise
        self.unfinished.pop(key, None)
        if sender.reused:
            self._require_reused(key, entry)

    def _require_reused(self, key: str, entry: TreeEntry) -> None:
        """What an earlier run sent was recognised by its MD5, for which others can make other bytes: read it back."""
        try:
            read_back(self.bucket, key, entry, self.budget, lambda _: None)
        except VerificationFailed as error:
            self.bucket.delete([key])
            raise UploadGone(f"{error} All of it is sent anew.") from error

    def _begin(self, key: str, entry: TreeEntry) -> tuple[str, dict[int, Part]]:
        """The upload to fill, and what it holds already."""
        if upload := self.unfinished.get(key):
            with suppress(UploadGone):
                there = {part.number: part for part in self.bucket.parts(key, upload)}
                log.info("%s: %d parts of an earlier run are there", entry.label, len(there))
                return upload, there
        upload = self.unfinished[key] = self.bucket.begin(key, entry.sha256)
        return upload, {}

    def _send_all(
        self, sender: _Sender, entry: TreeEntry, pull: Pull, connections: int
    ) -> tuple[str, tuple[Part, ...]]:
        """The digest of what came, in hex, and the parts it was sent as."""
        digest, size = hashlib.sha256(), part_size(entry.size)
        futures: list[Future[Part]] = []
        with (
            in_order(pull.open, entry.size, size, connections, self.budget) as blocks,
            ThreadPoolExecutor(min(SENDERS, -(-entry.size // size)), thread_name_prefix="part") as pool,
        ):
            for number, block in enumerate(blocks, 1):
                digest.update(block.bytes)
                futures.append(_submitted(pool, sender, number, block))
                if sender.failure:
                    break
        if sender.failure:
            raise sender.failure
        return digest.hexdigest(), tuple(future.result() for future in futures)


def _submitted(pool: ThreadPoolExecutor, sender: _Sender, number: int, block: Block) -> Future[Part]:
    try:
        return pool.submit(sender.send, number, block)
    except RuntimeError as error:  # no thread can be started; those that run may still take the part
        pool.shutdown()
        block.release()
        raise Unavailable("No thread can be started.", hint="Raise the limit of processes.") from error


@contextmanager
def _continuing(there: dict[int, Part]) -> Iterator[None]:
    """An upload that was begun with other settings (checksums, encryption) may refuse what is added to it."""
    try:
        yield
    except (Unusable, Damaged) as error:
        if there:
            raise UploadGone(str(error), hint=error.hint) from error
        raise


def _require(entry: TreeEntry, found: str) -> None:
    if found != entry.sha256:
        raise VerificationFailed(f"The bytes that came for {entry.label} are not the locked ones.")


@dataclass
class _Sent:
    """Bytes of one file that were reported as done."""

    report: Advance
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, count: int) -> None:
        with self._lock:
            self.bytes += count
        self.report(count)

    def take_back(self) -> None:
        self.report(-self.bytes)
        self.bytes = 0


@dataclass
class _Sender:
    """Sends the parts of one upload, from several threads."""

    bucket: Bucket
    key: str
    upload: str
    there: dict[int, Part]
    sent: _Sent
    failure: BaseException | None = None
    reused: bool = False

    def send(self, number: int, block: Block) -> Part:
        """One part, unless it is there; the block is given back. After a failure nothing more is sent."""
        try:
            if self.failure:
                raise self.failure
            part = self._known(number, block)
            if part is None:
                with _continuing(self.there):
                    part = self.bucket.write_part(self.key, self.upload, number, block.bytes)
            self.sent.advance(len(block.bytes))
            return part
        except BaseException as error:  # the thread that hashes raises it again
            self.failure = self.failure or error
            raise
        finally:
            block.release()

    def _known(self, number: int, block: Block) -> Part | None:
        """The part as an earlier run sent it, if it has these very bytes.

        By its MD5, which is enough to save sending it; what was made of such parts is read back. Where the ETag is no
        MD5 the part is sent again.
        """
        known = self.there.get(number)
        if known is None or known.size != len(block.bytes):
            return None
        if known.etag != hashlib.md5(block.bytes, usedforsecurity=False).hexdigest():
            return None
        self.reused = True
        crc = zlib.crc32(block.bytes).to_bytes(4, "big")  # some servers want it named again, but do not list it
        return replace(known, checksum=base64.b64encode(crc).decode())
