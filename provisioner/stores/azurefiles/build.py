"""One release on its way into an Azure file share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from provisioner.errors import (
    AccessDenied,
    InvalidDocument,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    VerificationFailed,
)
from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.source import RangesIgnored
from provisioner.ports.store import Advance, Held, Pull
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, dump, parse
from provisioner.stores.azurefiles.errors import Exists
from provisioner.stores.azurefiles.leftovers import Leftover
from provisioner.stores.azurefiles.parts import Part, Parts
from provisioner.stores.azurefiles.reading import RangeStream, opened, read_back
from provisioner.stores.azurefiles.receive import Counted, Receiver, digest_of, fill
from provisioner.stores.azurefiles.share import RANGE, SHA256, Share
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
        self._folder = places.build(unique(tree.release_id))
        self._doubtful: set[str] = set()  # paths in the tree of what a late request may have emptied
        self._parts = Parts(share, self._in(PARTIAL), leftovers, self._doubtful)
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

    def put(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry from a source. Raises VerificationFailed, StoreError and what the pull raises."""
        if entry.size <= RANGE and not self._parts.has(entry):
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
                    if filled.count:
                        self._parts.keep_beginning(entry, block.bytes[: filled.count])
                    raise filled.failure
            _require(entry, digest_of(block.bytes))
            self._write(entry.path, block.bytes, {SHA256: entry.sha256})
        finally:
            block.release()
        advance(entry.size)

    def _write(self, path: str, content: bytes | memoryview, metadata: dict[str, str] | None = None) -> None:
        """One file of the tree, whose bytes are known to be right."""
        certain = False
        try:
            certain = self._share.write(join(self._in(TREE), path), content, metadata)
        finally:
            if not certain:
                self._doubtful.add(path)

    def _put_large(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        counted, part = Counted(advance), self._parts.begin(entry)
        while True:
            try:
                found = self._receive(entry, part, pull, counted.advance, connections)
                if found == entry.sha256:
                    break
                if not part.bytes:
                    self._parts.drop(entry, part)
                    _require(entry, found)
            except RangesIgnored:  # the source can neither begin in the middle nor be read by several
                if connections == 1 and not part.bytes:
                    raise
                connections = 1
            counted.take_back()  # and what an earlier try left may be the wrong part: all comes anew
            self._parts.drop(entry, part)
            part = self._parts.create(entry)
        self._parts.keep(entry, Part(part.path, entry.size))
        self._share.mark(part.path, {SHA256: entry.sha256})
        self._share.move(part.path, self._path(entry))
        self._parts.forget(entry)

    def _receive(self, entry: TreeEntry, part: Part, pull: Pull, advance: Advance, connections: int) -> str:
        receiver = Receiver(self._share, part.path, entry, self._budget, self._pool, part.bytes)
        try:
            return receiver.receive(pull, advance, connections)
        except BaseException:
            self._parts.keep(entry, Part(part.path, receiver.safe))
            raise

    def share(self, entry: TreeEntry, held: Held, advance: Advance) -> None:
        """Take an entry from bytes the store has: renamed or copied inside the service, and read back."""
        source = join(self._places.root, held.place)
        if held.movable:
            self._share.move(source, self._path(entry))
            self._read_back(entry, advance)
        else:
            self._copy(source, entry, advance)

    def _copy(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        """Under another name first: a copy may begin again later, and is read back where it cannot."""
        path = self._parts.name(entry)
        try:
            self._share.copy(source, path, {SHA256: entry.sha256})
            self._share.move(path, self._path(entry))
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
        self._write(entry.path, entry.content or b"", {SHA256: entry.sha256})

    def repeat(self, entry: TreeEntry, first: TreeEntry) -> None:
        """Give an entry of this build a second path."""
        self._copy(self._path(first), entry, lambda _: None)

    def publish(self, record: ReleaseRecord, lock_text: bytes) -> bool:
        """Make the release visible by one rename; False when it was there already. Raises StoreError.

        First the tree gets a name that nobody knows: a process that takes this build for abandoned can from then on
        neither take a file of it nor delete in it.
        """
        self._write(LOCK_NAME, lock_text)
        self._write(RECORD_NAME, dump(record))
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
        for path in sorted(self._doubtful):
            if self._share.prefix(join(top, path)) < files[path]:
                raise Unavailable(f"{path} was emptied by a request that came late.", hint="Run again.")

    def _appear(self, sealed: str, release: str) -> bool:
        displaced = ""
        if self._replaces and self._share.is_folder(release):
            displaced = self._retire(release)
        try:
            self._share.move_folder(sealed, release)
        except Exists:
            return self._is_another_s(release)
        if displaced:
            with suppress(ProvisionError):  # the next sweep deletes it
                discard(self._share, self._places, displaced)
        return True

    def _is_another_s(self, release: str) -> bool:
        """False for our release, of another run. Raises StoreError for anything else that has its name."""
        found = None
        with suppress(NotFound, InvalidDocument, StoreError):
            found = parse(self._share.read_small(join(release, RECORD_NAME))).tree.digest
        if found != self._tree.digest:
            raise StoreError(
                f"{self._share.place(release)} is in the way: it holds no record of this release.",
                hint="Delete it, or replace it by running again with --repair; what was verified is kept.",
            )
        return False

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
