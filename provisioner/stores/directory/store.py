"""A store in a directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from provisioner.errors import InvalidDocument, NotFound, Problem, ProvisionError, Unavailable, VerificationFailed
from provisioner.model import Digest, Tree
from provisioner.ports.store import Advance, Capabilities, Held, Modes, Observed
from provisioner.record import LOCK_NAME, RECORD_NAME, ReleaseRecord, is_release_id, parse
from provisioner.report import Evidence, Finding, Kind
from provisioner.stores.directory import check as checking
from provisioner.stores.directory import owner
from provisioner.stores.directory.build import DirectoryBuild
from provisioner.stores.directory.files import (
    FULL,
    make_folder,
    read_small,
    replace_file,
    sync_folder,
    translated,
    unique,
)
from provisioner.stores.directory.leftovers import Abandoned, abandoned
from provisioner.stores.directory.partial import Leftover
from provisioner.stores.directory.places import RELEASES, REMOVED, STAGING, Places
from provisioner.stores.directory.probe import probe, untried
from provisioner.stores.directory.removal import discard, remove
from provisioner.stores.directory.source import opened
from provisioner.stores.source import Index, StoreSource


class DirectoryStore:
    """A local folder, or a mounted PVC, NFS export or Azure file share."""

    def __init__(self, root: str, modes: Modes) -> None:
        self._places = Places(root)
        self._modes = modes
        self._capabilities: Capabilities | None = None
        self._leftovers: dict[Digest, Leftover] = {}

    @property
    def name(self) -> str:
        """The path."""
        return self._places.root

    def path(self, release: str, path: str = "") -> str:
        """Where a release, or a file of it, is."""
        return os.path.join(self._places.release(release), path) if path else self._places.release(release)

    def exists(self) -> bool:
        """Whether the folder of releases is there. Raises StoreError when it cannot be read."""
        return bool(self.releases()) or os.path.isdir(self._places.releases)

    def releases(self) -> tuple[str, ...]:
        """Names of the published releases, newest first."""
        try:
            with translated(self._places.releases), os.scandir(self._places.releases) as listing:
                names = [child.name for child in listing if is_release_id(child.name)]
        except NotFound:
            return ()
        found = []
        for name in names:
            with suppress(NotFound), translated(self.path(name)):  # another process may be pruning
                found.append((os.stat(self.path(name)).st_mtime, name))
        return tuple(name for _, name in sorted(found, reverse=True))

    def record(self, release: str) -> ReleaseRecord:
        """The record of a release. Raises NotFound, InvalidDocument, StoreError."""
        path = self.path(release, RECORD_NAME)
        record = parse(self._read(release, RECORD_NAME), path)
        if record.release != release:
            raise InvalidDocument(path, (Problem("release", f"is the record of {record.release}"),))
        return record

    def lock_text(self, release: str) -> bytes:
        """The lock a release was built from. Raises NotFound, StoreError."""
        return self._read(release, LOCK_NAME)

    def _read(self, release: str, name: str) -> bytes:
        if not is_release_id(release):
            raise self._no_release(f"{release!r} is not the name of a release.")
        try:
            with translated(self.path(release, name)):
                return read_small(self.path(release, name))
        except NotFound:
            if not os.path.isdir(self._places.root):
                raise self._absent() from None
            raise self._no_release(f"{self.name} holds no release {release}.") from None

    def _no_release(self, message: str) -> NotFound:
        return NotFound(message, hint=f"See: provision releases list --at {self.name}")

    def _absent(self) -> NotFound:
        return NotFound(f"There is no store at {self.name}.", hint="Check the address; is the volume mounted?")

    def active(self) -> str | None:
        """The active release's name, or None. Raises StoreError."""
        try:
            with translated(self._places.current):
                text = read_small(self._places.current, 4096).decode("ascii", "replace").strip()
        except NotFound:
            return None
        return text if is_release_id(text) else None

    def marks_active(self) -> bool:
        """Whether something says which release is active, readable or not."""
        return os.path.lexists(self._places.current)

    def activate(self, release: str) -> None:
        """Make a release the active one, atomically.

        Raises NotFound, StoreError, and VerificationFailed for one that is not complete by its record and sizes.
        """
        if damage := self._damage(self.record(release).tree):
            raise VerificationFailed(
                f"Release {release} is damaged: {damage[0].path}: {damage[0].kind}, {damage[0].detail}.",
                hint=f"See all of it with: provision verify --release {release} --at {self.name}",
            )
        with translated(self._places.current):
            replace_file(self._places.current, f"{release}\n".encode(), self._modes.file if self._chmods() else None)

    def _chmods(self) -> bool:
        return self._capabilities is None or self._capabilities.chmod

    def remove(self, release: str) -> int:
        """Delete a release: out of sight by one rename first. Bytes of it. Raises NotFound, StoreError."""
        try:
            size = self.record(release).tree.size
        except (NotFound, InvalidDocument):  # a damaged release can be deleted all the same
            if not (is_release_id(release) and os.path.isdir(self.path(release))):
                raise
            size = 0
        self.create()
        with translated(self.path(release)):
            remove(self._places, release)
        return size

    def sweep(self, release: str | None = None) -> tuple[str, ...]:
        """Delete what dead runs left behind, of one release or of all; the names of it. Raises StoreError.

        Of all, but for what a living process is about to take up: the builds of the release that it builds.
        """
        gone = []
        with suppress(NotFound), translated(self._places.staging):
            now = self._clock()
            names = sorted(os.listdir(self._places.staging))
            kept = set() if release else self._in_work(names, now)
            for name in names:
                stem = name.partition(".")[0]
                if release in (None, stem) and stem not in kept and self._sweep(name, now):
                    gone.append(f"{STAGING}/{name}")
        return tuple(gone)

    def _in_work(self, names: list[str], now: float) -> set[str]:
        """The releases that are not there yet and that somebody builds."""
        begun = {name: name.partition(".")[0] for name in names}
        builds = {name: stem for name, stem in begun.items() if is_release_id(stem)}
        alive = owner.Life.ALIVE
        living = {stem for name, stem in builds.items() if owner.life_of(self._places.build(name), now) is alive}
        return living - set(self.releases())

    def _sweep(self, name: str, now: float) -> bool:
        path = self._places.build(name)
        if not name.startswith(REMOVED) and owner.life_of(path, now) is owner.Life.ALIVE:
            return False
        with suppress(OSError):  # another sweep was quicker
            if os.path.isdir(path) and not os.path.islink(path):
                return discard(self._places, path)
            os.unlink(path)
            return True
        return False

    def _clock(self) -> float:
        """The file system's own time: a server's clock may differ from ours."""
        path = unique(os.path.join(self._places.staging, "clock"))
        try:
            with open(path, "xb"):
                now = os.stat(path).st_mtime
        except OSError as error:
            if error.errno not in FULL:
                raise
            os.utime(self._places.staging)  # on a full volume a sweep is what makes room
            return os.stat(self._places.staging).st_mtime
        os.unlink(path)
        return now

    def observe(self, tree: Tree, anew: bool = False) -> Observed:
        """Everything a planner needs to know; nothing stays written, and nothing at all where no store is yet.

        With `anew` as if the release of the tree were not there, but for the bytes that it holds.
        """
        damage = None if anew else self._damage(tree)
        if damage is not None:
            return Observed(not damage, damage, {}, {}, Capabilities(False, False, None))
        if not os.path.isdir(self._places.staging):
            return Observed(False, (), self._held(tree, Abandoned()), {}, untried(self._places.root))
        self._capabilities, now = probe(self._places)
        left = abandoned(self._places, now)
        self._leftovers = left.partial
        partial = {digest: leftover.bytes() for digest, leftover in left.partial.items()}
        return Observed(False, (), self._held(tree, left), partial, self._capabilities)

    def _damage(self, tree: Tree) -> tuple[Finding, ...] | None:
        """What is wrong with the release of this tree by its record and sizes; None when it is not there."""
        folder = self.path(tree.release_id)
        if not os.path.lexists(folder):
            return None
        try:
            record = self.record(tree.release_id)
        except Unavailable:  # the file server, and not the release
            raise
        except ProvisionError as error:
            return (Finding(Kind.RECORD, RECORD_NAME, str(error)),)
        if record.tree.digest != tree.digest:
            return (Finding(Kind.RECORD, RECORD_NAME, "is the record of another tree"),)
        return tuple(filter(None, (checking.inspect(folder, entry) for entry in tree.entries)))

    def create(self) -> None:
        """Make the folders of a store, there already or not. Raises StoreError."""
        with translated(self._places.root):
            os.makedirs(os.path.dirname(self._places.root), exist_ok=True)
            for folder in (self._places.root, self._places.releases, self._places.staging):
                make_folder(folder, self._modes.folder)
            for folder in (self._places.root, os.path.dirname(self._places.root)):
                with suppress(PermissionError):  # a folder above may be of somebody else, and then it was there
                    sync_folder(folder)

    def _held(self, tree: Tree, left: Abandoned) -> dict[Digest, Held]:
        """Unfinished builds first: their files can be had without a copy. Last the release itself, if it is damaged."""
        wanted = {entry.sha256 for entry in tree.entries}
        found = {digest: held for digest, held in left.files.items() if digest in wanted}
        for digest, place, size in self._released():
            if digest in wanted and digest not in found:
                found[digest] = Held(digest, size, place)
        for entry in tree.entries:
            place = f"{RELEASES}/{tree.release_id}/{entry.path}"
            if entry.sha256 not in found and os.path.lexists(os.path.join(self._places.root, place)):
                found[entry.sha256] = Held(entry.sha256, entry.size, place)
        return found

    def _released(self) -> Iterator[tuple[Digest, str, int]]:
        """Digest, place and size of every file of every release, the active release first."""
        active = self.active()
        for release in sorted(self.releases(), key=lambda name: name != active):
            with suppress(NotFound, InvalidDocument):
                for entry in self.record(release).tree.entries:
                    yield entry.sha256, f"releases/{release}/{entry.path}", entry.size

    def build(self, tree: Tree, replaces: bool = False) -> DirectoryBuild:
        """Begin, or take up again, the release of a tree that was just observed; `replaces` a damaged one."""
        if self._capabilities is None:  # it was observed before there was a store
            self.create()
            self._capabilities, _ = probe(self._places)
        return DirectoryBuild(self._places, tree, self._modes, self._capabilities, dict(self._leftovers), replaces)

    def check(self, record: ReleaseRecord, evidence: Evidence, advance: Advance) -> Iterator[Finding]:
        """Compare a release with a record, each finding as soon as it is known."""
        return checking.check(self.path(record.release), record.tree, evidence, advance)

    def as_source(self) -> StoreSource:
        """The store as somewhere to read locked bytes from. Raises NotFound when there is none."""
        if not os.path.isdir(self._places.releases):
            raise self._absent()
        return StoreSource(self.name, False, self._index, opened)

    def _index(self) -> Index:
        index: Index = {}
        for digest, place, _ in self._released():
            index.setdefault(digest, os.path.join(self._places.root, place))
        return index
