"""One release on its way into an Azure file share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from provisioner.errors import (
    AccessDenied,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    VerificationFailed,
)
from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.store import Advance, Held, Pull
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, dump
from provisioner.stores.azurefiles.errors import Exists
from provisioner.stores.azurefiles.leftovers import Leftover
from provisioner.stores.azurefiles.reading import RangeStream, opened, read_back
from provisioner.stores.azurefiles.receive import Receiver, digest_of, fill
from provisioner.stores.azurefiles.share import RANGE, SHA256, WRITTEN, Share
from provisioner.stores.azurefiles.walking import delete_all, discard, join, make_folders, walk
from provisioner.stores.blocks.budget import Budget
from provisioner.stores.directory.files import unique
from provisioner.stores.directory.places import EXPECTED, OWNER, PARTIAL, SEALED, TREE, Places
from provisioner.stores.owner import GONE, Heartbeat, identity

SENDERS = 16  # ranges in flight at most; the budget bounds their memory


class AzureFilesBuild:
    """Files appear under `tree/` once they were verified; the tree appears under `releases/` by one rename.

    The folder of a build belongs to one process. What other processes left is copied or, when they are gone, taken,
    and read back in any case.
    """

    is_remote = True

    def __init__(
        self,
        share: Share,
        places: Places,
        tree: Tree,
        leftovers: dict[Digest, Leftover],
        budget: Budget,
        replaces: bool = False,
    ) -> None:
        self._share, self._places, self._tree, self._budget = share, places, tree, budget
        self._leftovers, self._begun = leftovers, dict[Digest, int]()
        self._folder = places.build(unique(tree.release_id))
        self._replaces, self._published = replaces, False
        self._identity = identity()
        try:
            self._prepare()
        except BaseException:
            delete_all(share, self._folder)
            raise
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="range")
        self._heartbeat = Heartbeat(lambda: share.write_range(self._in(OWNER), 0, self._identity))

    def _prepare(self) -> None:
        self._share.make_folder(self._folder)
        self._share.write(self._in(OWNER), self._identity)
        self._share.write(self._in(EXPECTED), dump(ReleaseRecord(self._tree, self._tree.digest)))
        inner = {join(TREE, parent) for entry in self._tree.entries for parent in entry.path.parents}
        make_folders(self._share, map(self._in, {TREE, PARTIAL, *inner}))

    def _in(self, name: str) -> str:
        return join(self._folder, name)

    def _path(self, entry: TreeEntry) -> str:
        return join(self._in(TREE), entry.path)

    def _partial(self, entry: TreeEntry) -> str:
        return join(self._in(PARTIAL), entry.sha256)

    def put(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry from a source. Raises VerificationFailed, StoreError and what the pull raises."""
        if entry.size <= RANGE and entry.sha256 not in self._begun and entry.sha256 not in self._leftovers:
            self._put_small(entry, pull, advance)
        else:
            self._put_large(entry, pull, advance, connections)

    def _put_small(self, entry: TreeEntry, pull: Pull, advance: Advance) -> None:
        """What fits into one range is hashed before anything is written."""
        block = self._budget.take(0, entry.size)
        try:
            if entry.size:
                with pull.open(0, entry.size) as stream:
                    filled = fill(stream, block)
                if filled.failure:
                    self._keep(entry, block.bytes[: filled.count])
                    raise filled.failure
            _require(entry, digest_of(block.bytes))
            self._share.write(self._path(entry), block.bytes, {SHA256: entry.sha256})
        finally:
            block.release()
        advance(entry.size)

    def _keep(self, entry: TreeEntry, data: memoryview) -> None:
        """The beginning of a small file, for the next attempt or the next run."""
        if data:
            with suppress(ProvisionError):  # a failure is on its way already
                self._share.create(self._partial(entry), entry.size, {WRITTEN: str(len(data))})
                self._share.write_range(self._partial(entry), 0, data)
                self._begun[entry.sha256] = len(data)

    def _put_large(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        receiver = Receiver(self._share, self._partial(entry), entry, self._budget, self._pool, self._begin(entry))
        again = receiver.safe
        while True:
            try:
                found = receiver.receive(pull, advance, connections)
            finally:
                self._begun[entry.sha256] = receiver.safe
            if found == entry.sha256:
                break
            del self._begun[entry.sha256]
            self._share.delete(receiver.path)
            if not again:
                _require(entry, found)
            advance(-entry.size)  # what an earlier attempt left may be the wrong part: all comes anew
            again = receiver.safe = self._create(entry)
        self._share.mark(receiver.path, {SHA256: entry.sha256})
        self._share.move(receiver.path, self._path(entry))
        del self._begun[entry.sha256]

    def _begin(self, entry: TreeEntry) -> int:
        """The partial file of an entry is there afterwards; how many bytes of it can be used."""
        if (known := self._begun.get(entry.sha256)) is not None:
            return known
        leftover = self._leftovers.pop(entry.sha256, None)
        if leftover is not None and leftover.size == entry.size:
            with suppress(NotFound, AccessDenied, StoreError):  # then it comes anew
                return self._take(leftover, self._partial(entry))
        return self._create(entry)

    def _create(self, entry: TreeEntry) -> int:
        self._share.create(self._partial(entry), entry.size)
        self._begun[entry.sha256] = 0
        return 0

    def _take(self, leftover: Leftover, path: str) -> int:
        """By rename, else by copy: nobody else may hold what we verify."""
        if leftover.free:
            self._share.move(leftover.path, path)
            self._share.mark(path, {})
        else:
            self._share.copy(leftover.path, path, {WRITTEN: str(leftover.bytes)})
        return leftover.bytes

    def share(self, entry: TreeEntry, held: Held, advance: Advance) -> None:
        """Take an entry from bytes the store has: renamed or copied inside the service, and read back."""
        source = join(self._places.root, held.place)
        if held.movable:
            self._share.move(source, self._path(entry))
            self._read_back(entry, advance)
        else:
            self._copy(source, entry, advance)

    def _copy(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        try:
            self._share.copy(source, self._path(entry), {SHA256: entry.sha256})
        except StoreFull:
            raise
        except (AccessDenied, NotFound, StoreError):  # not every credential may copy: then the bytes go through us
            return self.put(entry, _Own(self._share, source), advance, 1)
        return self._read_back(entry, advance)

    def _read_back(self, entry: TreeEntry, advance: Advance) -> None:
        path = self._path(entry)
        try:
            recorded = read_back(self._share, path, entry, self._budget, advance)
        except (VerificationFailed, NotFound):
            with suppress(ProvisionError):
                self._share.delete(path)
            raise
        if recorded != entry.sha256:
            self._share.mark(path, {SHA256: entry.sha256})

    def generate(self, entry: TreeEntry) -> None:
        """Write a generated entry."""
        self._share.write(self._path(entry), entry.content or b"", {SHA256: entry.sha256})

    def repeat(self, entry: TreeEntry, first: TreeEntry) -> None:
        """Give an entry of this build a second path."""
        self._copy(self._path(first), entry, lambda _: None)

    def publish(self, record: ReleaseRecord, lock_text: bytes) -> bool:
        """Make the release visible by one rename; False when it was there already.

        First the tree gets a name that nobody knows: a process that takes this build for abandoned can from then on
        neither take a file of it nor delete in it.
        """
        self._share.write(join(self._in(TREE), LOCK_NAME), lock_text)
        self._share.write(join(self._in(TREE), RECORD_NAME), dump(record))
        sealed = self._in(unique(SEALED))
        self._share.move_folder(self._in(TREE), sealed)
        try:
            self._check_presence(sealed)
            first = self._appear(sealed, self._places.release(record.release))
        except BaseException:
            with suppress(ProvisionError):  # so that the next run finds the files
                self._share.move_folder(sealed, self._in(TREE))
            raise
        self._published = True
        return first

    def _check_presence(self, top: str) -> None:
        """A build that was taken for abandoned has lost files; better to notice before than after."""
        files = walk(self._share, top).files
        for entry in self._tree.entries:
            if files.get(entry.path) != entry.size:
                raise Unavailable(f"{entry.label} was taken from this build by another run.", hint="Run again.")

    def _appear(self, sealed: str, release: str) -> bool:
        displaced = ""
        if self._replaces and self._share.is_folder(release):
            displaced = self._retire(release)
        try:
            self._share.move_folder(sealed, release)
        except Exists:
            return False
        if displaced:
            with suppress(ProvisionError):  # the next sweep deletes it
                discard(self._share, self._places, displaced)
        return True

    def _retire(self, release: str) -> str:
        """Turn a release into an abandoned build, from which a later run could take files; its folder."""
        folder = self._places.build(unique(self._tree.release_id))
        self._share.make_folder(folder)
        self._share.write(join(folder, EXPECTED), dump(ReleaseRecord(self._tree, self._tree.digest)))
        self._share.write(join(folder, OWNER), GONE)
        self._share.move_folder(release, join(folder, TREE))
        return folder

    def close(self) -> None:
        """Let go; what was verified stays for the next run unless the release is there."""
        self._heartbeat.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C some may still wait for an answer
        with suppress(ProvisionError):
            if self._published or not self._worth_keeping():
                delete_all(self._share, self._folder)
            else:
                self._share.write(self._in(OWNER), GONE)

    def _worth_keeping(self) -> bool:
        return any(path.startswith((f"{TREE}/", f"{PARTIAL}/")) for path in walk(self._share, self._folder).files)


def _require(entry: TreeEntry, found: str) -> None:
    if found != entry.sha256:
        raise VerificationFailed(f"The bytes that came for {entry.label} are not the locked ones.")


@dataclass(frozen=True, slots=True)
class _Own:
    """A file of the store as bytes to pull."""

    share: Share
    path: str

    def open(self, start: int, stop: int) -> AbstractContextManager[RangeStream]:
        return opened(self.share, self.path, start, stop)
