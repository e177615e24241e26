"""A folder, be it local or a mounted volume: everything a build does there, tried once."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import suppress

from provisioner.errors import NotFound, StoreError
from provisioner.ports.store import Capabilities, Store
from provisioner.report.health import Answer, fine, warning
from provisioner.stores.directory.files import create, failure, sync, translated, write_all
from provisioner.stores.directory.owner import Life, life_of
from provisioner.stores.directory.places import Places
from provisioner.stores.directory.probe import probe
from provisioner.stores.examine import volume
from provisioner.stores.examine.check import CONTENT, DOCTOR, Check, scratch_name, shown
from provisioner.stores.examine.holdings import held, leftovers
from provisioner.stores.examine.network import skew
from provisioner.stores.targets import open_store

ROUNDS = 20  # replacements that a reader watches
NTP = "Set the clocks of this machine and of the file server (NTP)."


class DirectoryExamination:
    """Checks of one folder."""

    def __init__(self, address: str) -> None:
        self.target, self._address = shown(address), address
        self._scratch_name = scratch_name()
        self._store: Store | None = None
        self._made: list[str] = []
        self._capabilities: tuple[Capabilities, float] | None = None

    def checks(self) -> tuple[Check, ...]:
        """In the order to try them in."""
        there, written = ("folder",), ("write",)
        return (
            Check("folder", self._folder),
            Check("mount", lambda: volume.mount(self._nearest()), there),
            Check("owner", lambda: volume.owner(self._nearest()), there),
            Check("space", lambda: volume.space(self._nearest()), there),
            Check("releases", self._releases, there),
            Check("write", self._write, there),
            Check("read", self._read, written),
            Check("range read", self._range, written),
            Check("list", self._list, written),
            Check("replace by rename", self._replace, written),
            Check("folder rename", self._folder_rename, written),
            Check("fsync", self._fsync, written),
            Check("build steps", self._build_steps, written),
            Check("hard links", self._hard_links, ("build steps",)),
            Check("chmod", self._chmod, ("build steps",)),
            Check("clock", self._clock, ("build steps",)),
            Check("symlinks", self._symlinks, written),
            Check("case", self._case, written),
            Check("delete", self._delete, written),
            Check("leftovers", self._leftovers, there),
        )

    def clean(self) -> None:
        """Delete the scratch folder, and the folders above that were not there before. Raises StoreError."""
        if self._store is None:
            return
        scratch = self._in()
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in reversed(self._made):
            with suppress(OSError):  # somebody else has put something there meanwhile
                os.rmdir(folder)
        if os.path.lexists(scratch):
            raise StoreError(f"{scratch} could not be deleted.", hint="Delete it, or find out who holds it open.")

    @property
    def _places(self) -> Places:
        assert self._store is not None
        return Places(self._store.name)

    def _in(self, name: str = "") -> str:
        scratch = self._places.build(self._scratch_name)
        return os.path.join(scratch, name) if name else scratch

    def _folder(self) -> Answer:
        self._store = open_store(self._address)
        self.target = root = self._store.name
        with translated(root):
            try:
                os.listdir(root)
            except FileNotFoundError:
                return warning(
                    f"{root} is not there yet", "A mirror makes it; for a volume check that it is mounted there."
                )
        return fine(root)

    def _nearest(self) -> str:
        """The store's root, or the folder it would be made in."""
        path = os.path.realpath(self._places.root)
        while not os.path.exists(path):
            path = os.path.dirname(path)
        return path

    def _releases(self) -> Answer:
        assert self._store is not None
        return held(self._store)

    def _write(self) -> Answer:
        for folder in self._missing():
            with translated(folder), suppress(FileExistsError):
                os.mkdir(folder)
                self._made.append(folder)
        with translated(self._in()):
            os.mkdir(self._in())
        self._make("a", CONTENT)
        return fine(f"{len(CONTENT):,} bytes in {self._places.staging}")

    def _missing(self) -> list[str]:
        """The folders that a store has and this one lacks, those above first."""
        found, folder = [], self._places.staging
        while not os.path.lexists(folder):
            found.append(folder)
            folder = os.path.dirname(folder)
        return found[::-1]

    def _make(self, name: str, content: bytes) -> str:
        path = self._in(name)
        with translated(path):
            fd = create(path)
            try:
                write_all(fd, content, 0)
                os.fsync(fd)  # a network file system may tell only now that it is full
            finally:
                os.close(fd)
        return path

    def _bytes(self, name: str) -> bytes:
        with translated(self._in(name)), open(self._in(name), "rb") as file:
            return file.read()

    def _read(self) -> Answer:
        _require(self._bytes("a") == CONTENT, "What was written is not what is read.")
        return fine("what was written came back")

    def _range(self) -> Answer:
        with translated(self._in("a")), open(self._in("a"), "rb") as file:
            found = os.pread(file.fileno(), 1000, 5000)
        _require(found == CONTENT[5000:6000], "A range in the middle of a file is not what was written there.")
        return fine()

    def _list(self) -> Answer:
        with translated(self._in()):
            _require(os.listdir(self._in()) == ["a"], "A listing does not show what was written.")
        return fine()

    def _replace(self) -> Answer:
        """Replace a file again and again while somebody reads it, and once while nobody does."""
        target = self._make("current", b"0" * 100)
        watcher = volume.Watcher(target)
        try:
            refused = sum(not self._replaces(target, number) for number in range(ROUNDS))
        finally:
            watcher.stop()
        source = self._make("current.last", b"9" * 100)
        with translated(target):
            os.replace(source, target)
        _require(self._bytes("current") == b"9" * 100, "Replacing a file by a rename does not work.")
        if refused:
            return warning(
                f"in one step, but {refused} of {ROUNDS} times refused while the file was open elsewhere",
                "Run releases activate again when it is refused, or mount releases/ID instead of following current.",
            )
        if watcher.gaps:
            return warning(
                f"a reader saw no whole file {watcher.gaps} times while it was replaced",
                "Activate releases while nobody reads, or mount releases/ID instead of following current.",
            )
        return fine(f"{ROUNDS} times, and a reader saw a whole file every time")

    def _replaces(self, target: str, number: int) -> bool:
        """One replacement; False where an open file cannot be replaced, as on SMB."""
        source = self._make(f"current.{number}", b"%d" % (number % 10) * 100)
        with translated(target):
            try:
                os.replace(source, target)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY):
                    raise
                return False
        return True

    def _folder_rename(self) -> Answer:
        first, second = self._in("first"), self._in("second")
        with translated(first):
            for folder in (first, second):
                os.mkdir(folder)
                os.close(create(os.path.join(folder, os.path.basename(folder))))
            os.rename(first, self._in("renamed"))
            _require(os.listdir(self._in("renamed")) == ["first"], "A renamed folder lost what was in it.")
        try:
            os.rename(self._in("renamed"), second)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return fine("in one step; onto a folder that is not empty it is refused")
            return fine(f"in one step; onto a folder that is not empty it is refused ({error.strerror})")
        return warning(
            "a folder can be renamed onto one that is not empty, as no POSIX file system lets it",
            "Let one mirror write at a time: two that publish one release at once could mix it.",
        )

    def _fsync(self) -> Answer:
        with translated(self._in("a")):
            sync(self._in("a"))
        fd = os.open(self._in(), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise failure(error, self._in()) from error
            return fine("of files; of folders the file system knows no such thing")
        finally:
            os.close(fd)
        return fine("of files and folders")

    def _build_steps(self) -> Answer:
        """What every mirror tries first, here below the scratch folder."""
        inner = Places(self._in("store"))
        with translated(inner.staging):
            os.makedirs(inner.staging)
        found, now = probe(inner)
        self._capabilities = found, time.time() - now
        return fine("what a mirror tries before it begins works")

    def _hard_links(self) -> Answer:
        assert self._capabilities
        if self._capabilities[0].hard_links:
            return fine("equal files of two releases take their room once")
        return warning("none: equal files of two releases take their room twice", "Plan the volume for that.")

    def _chmod(self) -> Answer:
        assert self._capabilities
        if self._capabilities[0].chmod:
            return fine()
        return warning(
            "modes do not stick: the mount decides them", "Give the mount uid, gid and modes that readers can read."
        )

    def _clock(self) -> Answer:
        assert self._capabilities
        answer = skew(ahead := self._capabilities[1], "the file server's", NTP)
        if answer is None:
            raise StoreError(f"Time stamps of files differ from this machine's clock by {abs(ahead):.0f} s.", hint=NTP)
        return answer

    def _symlinks(self) -> Answer:
        try:
            os.symlink("a", self._in("link"))
            there = self._bytes("link") == CONTENT
        except OSError as error:
            return fine(f"none ({error.strerror}); a store needs none")
        return fine("possible; a store uses none") if there else fine("made, but not followed; a store needs none")

    def _case(self) -> Answer:
        self._make("Case", b"")
        if os.path.lexists(self._in("case")):
            return warning(
                "upper and lower case are the same",
                "Models with file names that differ in nothing else cannot be here; everything else can.",
            )
        return fine("upper and lower case are told apart")

    def _delete(self) -> Answer:
        with translated(self._in("a")):
            os.unlink(self._in("a"))
        _require(not os.path.lexists(self._in("a")), "A deleted file is still there.")
        return fine()

    def _leftovers(self) -> Answer:
        try:
            with translated(self._places.staging):
                names = os.listdir(self._places.staging)
        except NotFound:
            return fine("none")
        now = time.time() - (self._capabilities[1] if self._capabilities else 0.0)
        lives = [life_of(self._places.build(name), now) for name in names if not name.startswith(DOCTOR)]
        doctors = sum(name.startswith(DOCTOR) and name != self._scratch_name for name in names)
        dead = sum(life is not Life.ALIVE for life in lives)
        return leftovers(len(lives) - dead, {"dead build": dead, "interrupted doctor": doctors}, self.target)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise StoreError(message, hint="Do not use this volume for models before that is mended.")
