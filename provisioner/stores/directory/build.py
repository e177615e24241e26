"""One release on its way into a directory store."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from provisioner.errors import InvalidDocument, StoreError, Unavailable, VerificationFailed
from provisioner.model import Digest, Tree, TreeEntry
from provisioner.ports.store import Advance, Capabilities, Held, Modes, Pull
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, dump, parse
from provisioner.stores.directory import owner
from provisioner.stores.directory.copying import check_file, copy_file, inside, link, require_content, require_same
from provisioner.stores.directory.files import (
    create,
    make_folder,
    read_small,
    replace_file,
    sync,
    sync_folder,
    translated,
    unique,
    write_all,
)
from provisioner.stores.directory.partial import Leftover, Partial
from provisioner.stores.directory.places import EXPECTED, OWNER, PARTIAL, SEALED, TREE, Places
from provisioner.stores.directory.receive import receive
from provisioner.stores.directory.removal import discard, retire

SYNC_THREADS = 8


class DirectoryBuild:
    """Files appear under `tree/` by a rename after they were verified; the tree appears under `releases/` by another.

    The folder of a build belongs to one process. What other processes left is read, linked or, when they are gone,
    taken; nothing that another process might still write to is ever published.
    """

    is_remote = False

    def __init__(
        self,
        places: Places,
        tree: Tree,
        modes: Modes,
        capabilities: Capabilities,
        leftovers: dict[Digest, Leftover],
        replaces: bool = False,
    ) -> None:
        self._places = places
        self._tree = tree
        self._modes = modes
        self._can = capabilities
        self._leftovers = leftovers
        self._folder = places.build(unique(tree.release_id))
        self._replaces = replaces
        self._published = False
        try:
            with translated(self._folder):
                self._prepare()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._heartbeat = owner.heartbeat(self._folder)

    def _prepare(self) -> None:
        os.mkdir(self._folder, 0o700)
        replace_file(os.path.join(self._folder, OWNER), owner.identity(), None)
        record = dump(ReleaseRecord(self._tree, self._tree.digest))
        replace_file(os.path.join(self._folder, EXPECTED), record, None)
        os.mkdir(os.path.join(self._folder, PARTIAL))
        for folder in self._folders(os.path.join(self._folder, TREE)):
            make_folder(folder, self._modes.folder if self._can.chmod else None)

    def _folders(self, top: str) -> list[str]:
        """Every folder of the tree at `top`, outermost first."""
        inner = {parent for entry in self._tree.entries for parent in entry.path.parents}
        return [top, *(os.path.join(top, parent) for parent in sorted(inner))]

    def _path(self, entry: TreeEntry) -> str:
        return os.path.join(self._folder, TREE, entry.path)

    def _partial(self, entry: TreeEntry) -> str:
        return os.path.join(self._folder, PARTIAL, entry.sha256)

    def put(self, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> None:
        """Write an entry from a source. Raises VerificationFailed, StoreError and what the pull raises."""
        with translated(self._path(entry)):
            partial = Partial(self._partial(entry), self._leftovers.pop(entry.sha256, None))
            try:
                if not self._fill(partial, entry, pull, advance, connections):
                    partial.discard()
                    raise VerificationFailed(f"The bytes that came for {entry.label} are not the locked ones.")
                self._finish(partial.fd, partial.path, entry)
                partial.forget_marks()
            finally:
                partial.close()

    def _fill(self, partial: Partial, entry: TreeEntry, pull: Pull, advance: Advance, connections: int) -> bool:
        """Whether the locked bytes came. What an earlier attempt left may be the wrong part: then all comes anew."""
        again = partial.is_begun()
        while True:
            found = receive(partial, entry.size, pull, advance, connections)
            if found == entry.sha256 and os.fstat(partial.fd).st_size == entry.size:
                return True
            if not again:
                return False
            again = False
            partial.truncate()
            advance(-entry.size)

    def _finish(self, fd: int, path: str, entry: TreeEntry) -> None:
        if self._can.chmod:
            os.fchmod(fd, self._modes.file)
        os.rename(path, self._path(entry))

    def share(self, entry: TreeEntry, held: Held, advance: Advance) -> None:
        """Take an entry from bytes the store has, re-hashed: rename, else link, else copy."""
        source = inside(self._places.root, held.place)
        with translated(source):
            if not self._can_link(source) and (not held.movable or os.stat(source).st_nlink > 1):
                self._copy(source, entry, advance)
            elif held.movable:
                self._take(source, entry, advance)
            else:
                self._link(source, entry, advance)

    def _take(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        """From a build that nobody works on; hashed before anything is moved."""
        seen = check_file(source, entry, advance)
        os.rename(source, self._path(entry))
        require_content(self._path(entry), seen, entry)
        if self._can.chmod:
            os.chmod(self._path(entry), self._modes.file)

    def _link(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        seen = check_file(source, entry, advance)
        if link(source, self._path(entry)):
            require_same(self._path(entry), seen)
        else:
            self._copy(source, entry, lambda _: None)

    def _can_link(self, source: str) -> bool:
        """A link shares the mode too, and an earlier release must keep the one it has."""
        wanted = self._modes.file
        return self._can.hard_links and (not self._can.chmod or os.stat(source).st_mode & 0o7777 == wanted)

    def _copy(self, source: str, entry: TreeEntry, advance: Advance) -> None:
        temporary = unique(self._partial(entry))
        copy_file(source, temporary, entry, advance)
        if self._can.chmod:
            os.chmod(temporary, self._modes.file)
        os.rename(temporary, self._path(entry))

    def generate(self, entry: TreeEntry) -> None:
        """Write a generated entry."""
        with translated(self._path(entry)):
            self._write(self._path(entry), entry.content or b"")

    def _write(self, path: str, content: bytes) -> None:
        fd = create(path)
        try:
            write_all(fd, content, 0)
            if self._can.chmod:
                os.fchmod(fd, self._modes.file)
        finally:
            os.close(fd)

    def repeat(self, entry: TreeEntry, first: TreeEntry) -> None:
        """Give an entry of this build a second path."""
        with translated(self._path(entry)):
            if not (self._can.hard_links and link(self._path(first), self._path(entry))):
                self._copy(self._path(first), entry, lambda _: None)

    def publish(self, record: ReleaseRecord, lock_text: bytes) -> bool:
        """Make the release visible by one rename, durable before and after; False when it was there already.

        First the tree gets a name that nobody knows: a process that takes this build for abandoned, because it was
        paused or its syncs last long, can from then on neither take a file of it nor delete in it.
        """
        tree, release = os.path.join(self._folder, TREE), self._places.release(record.release)
        with translated(release):
            self._write(os.path.join(tree, LOCK_NAME), lock_text)
            self._write(os.path.join(tree, RECORD_NAME), dump(record))
            sealed = os.path.join(self._folder, unique(SEALED))
            os.rename(tree, sealed)
            try:
                self._check_presence(sealed)
                self._sync(sealed)
                first = self._appear(sealed, release)
            except BaseException:
                with suppress(OSError):  # so that the next run finds the files
                    os.rename(sealed, tree)
                raise
            self._published = True
            return first

    def _appear(self, sealed: str, release: str) -> bool:
        displaced = ""
        # Some FUSE file systems let a rename replace a folder that is not empty, so look first.
        if os.path.lexists(release):
            if not self._replaces:
                return _is_another_s(release, self._tree)
            displaced = retire(self._places, self._tree)
        if not _rename_folder(sealed, release):
            return _is_another_s(release, self._tree)
        sync_folder(self._places.releases)
        if displaced:
            discard(self._places, displaced)
        return True

    def _check_presence(self, top: str) -> None:
        """A build that was taken for abandoned has lost files; better to notice before than after."""
        for entry in self._tree.entries:
            try:
                changed = os.lstat(os.path.join(top, entry.path)).st_size != entry.size
            except FileNotFoundError:
                changed = True
            if changed:
                raise Unavailable(f"{entry.label} was taken from this build by another run.", hint="Run again.")

    def _sync(self, top: str) -> None:
        files = [os.path.join(top, name) for name in (LOCK_NAME, RECORD_NAME, *(e.path for e in self._tree.entries))]
        with ThreadPoolExecutor(SYNC_THREADS, thread_name_prefix="sync") as pool:
            for _ in pool.map(sync, files):
                pass
            for _ in pool.map(sync_folder, self._folders(top)):
                pass

    def close(self) -> None:
        """Let go; what was verified stays for the next run unless the release is there."""
        self._heartbeat.stop()
        if self._published or not self._worth_keeping():
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        with suppress(OSError), open(os.path.join(self._folder, OWNER), "wb") as file:
            file.write(owner.GONE)

    def _worth_keeping(self) -> bool:
        return any(files for name in (TREE, PARTIAL) for _, _, files in os.walk(os.path.join(self._folder, name)))


def _is_another_s(release: str, tree: Tree) -> bool:
    """False for a release of the tree, of another run. Raises StoreError for anything else that has its name."""
    found = None
    with suppress(FileNotFoundError, NotADirectoryError, InvalidDocument, StoreError):
        found = parse(read_small(os.path.join(release, RECORD_NAME))).tree.digest
    if found != tree.digest:
        raise StoreError(
            f"{release} is in the way: it holds no record of this release.",
            hint="Delete it, or replace it by running again with --repair; what was verified is kept.",
        )
    return False


def _rename_folder(source: str, target: str) -> bool:
    """False when somebody else's release of that name is there."""
    try:
        os.rename(source, target)
    except OSError:
        if os.path.isdir(target):
            return False
        raise
    return True
