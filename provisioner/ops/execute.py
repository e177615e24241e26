"""Carrying out the actions of a plan, many at once, until all are done or one cannot be."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.errors import (
    AccessDenied,
    NotFound,
    ProvisionError,
    StoreError,
    StoreFull,
    Unavailable,
    VerificationFailed,
)
from provisioner.model import LockedFile, TreeEntry
from provisioner.ops.crew import Crew
from provisioner.ops.pull import Cancelled, Patience, PatientPull
from provisioner.plan import Action, Generate, Move, Plan, Share
from provisioner.ports.events import Advanced, FileDone, FileStarted, Notice, Observer
from provisioner.ports.source import Source
from provisioner.ports.store import Build

LARGE = 64 * 2**20
RANGES = 8  # connections for one large file alone
ENOUGH = 4  # large files that keep a line and two cores busy without ranges


@dataclass(frozen=True, slots=True)
class Settings:
    """How hard to work.

    Attributes:
        jobs: files at once at most.
    """

    jobs: int
    patience: Patience = field(default_factory=Patience)


@dataclass
class Tally:
    """What was done, counted by all threads."""

    moved: int = 0
    shared: int = 0
    resumed: int = 0
    origins: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, moved: int = 0, shared: int = 0, resumed: int = 0, origin: str = "", size: int = 0) -> None:
        """Count one file."""
        with self._lock:
            self.moved += moved
            self.shared += shared
            self.resumed += resumed
            if origin:
                files, total = self.origins.get(origin, (0, 0))
                self.origins[origin] = (files + 1, total + size)


class Execution:
    """One run over a plan's actions."""

    def __init__(self, sources: Sequence[Source], settings: Settings, observer: Observer, tally: Tally) -> None:
        self.observer = observer
        self._sources = sources
        self._settings = settings
        self._tally = tally
        self._cancelled = threading.Event()
        self._connections = 1
        self._lost: dict[str, ProvisionError] = {}

    def run(self, work: Plan, build: Build) -> None:
        """All actions, largest first. Raises the first failure, once every thread has stopped."""
        large = sum(isinstance(action, Move) and action.entries[0].size >= LARGE for action in work.actions)
        self._connections = connections_per_file(large, self._settings.jobs)
        crew: Crew[Action] = Crew(lambda action: self._act(action, build), self._settings.jobs, self._cancelled)
        if failures := [one for one in crew.run(work.actions) if not isinstance(one, Cancelled)]:
            # A bug hides behind no ordinary failure.
            raise min(failures, key=lambda failure: isinstance(failure, ProvisionError))

    def _act(self, action: Action, build: Build) -> None:
        if self._cancelled.is_set():
            raise Cancelled
        first, *rest = action.entries
        match action:
            case Generate(entries):
                for entry in entries:
                    build.generate(_with_content(entry, entries))
                rest = []
            case Share():
                self._share(action, build, first)
            case Move():
                self._move(action, build, first)
        for entry in rest:
            build.repeat(entry, first)

    def _share(self, action: Share, build: Build, entry: TreeEntry) -> None:
        progress = _Progress(self.observer, entry, self._cancelled)
        try:
            build.share(entry, action.held, progress.advance)
        except (VerificationFailed, NotFound, StoreError) as error:
            progress.take_back()
            if isinstance(error, StoreFull):
                raise
            self.observer(Notice(f"{error} It is brought from a source instead."))
            self._move(Move(action.entries), build, entry)
            return
        if action.held.movable:
            self._tally.add(resumed=entry.size)
        else:
            self._tally.add(shared=entry.size)
        self.observer(FileDone(entry.label, entry.size, "resumed" if action.held.movable else "shared"))

    def _move(self, action: Move, build: Build, entry: TreeEntry) -> None:
        assert entry.origin is not None  # only locked files are moved
        candidates = self._candidates(entry.origin)
        self.observer(FileStarted(entry.label, entry.size))
        pulls: list[PatientPull] = []
        for source in candidates[:-1]:
            try:
                return self._from(source, pulls, build, entry)
            except StoreFull:
                raise
            except (VerificationFailed, NotFound, AccessDenied, Unavailable, StoreError) as error:
                if not (pulls[-1].failed or isinstance(error, VerificationFailed)):
                    raise  # it is the target that fails, and would with any source
                self.observer(Notice(f"{error} The next source is asked."))
        return self._from(candidates[-1], pulls, build, entry)

    def _candidates(self, file: LockedFile) -> list[Source]:
        """The sources that may have a file; one that cannot even say so is not asked again."""
        found = []
        for source in [source for source in self._sources if source.name not in self._lost]:
            try:
                if source.has(file):
                    found.append(source)
            except (AccessDenied, Unavailable, StoreError) as error:
                self._lost[source.name] = error
                self.observer(Notice(f"{error} {source.name} is left out."))
        if not found:
            missing = NotFound(f"No source holds {file.repo}: {file.file.path}.", hint="Add a --from.")
            raise next(iter(self._lost.values()), missing)
        return found

    def _from(self, source: Source, pulls: list[PatientPull], build: Build, entry: TreeEntry) -> None:
        """One attempt; `pulls` are those of the entry so far, this one among them afterwards."""
        assert entry.origin is not None
        progress = _Progress(self.observer, entry, self._cancelled)
        pull = PatientPull(source, entry.origin, self._settings.patience, self.observer, self._cancelled)
        pulls.append(pull)
        several = entry.size >= LARGE and (source.is_remote or build.is_remote)
        connections = self._connections if several else 1
        try:
            build.put(entry, pull, progress.advance, connections)
        except BaseException:
            progress.take_back()
            raise
        moved = sum(one.bytes for one in pulls)
        self._tally.add(moved=moved, resumed=max(entry.size - moved, 0), origin=source.name, size=pull.bytes)
        self.observer(FileDone(entry.label, entry.size, "moved", source.name))


def connections_per_file(large_files: int, jobs: int) -> int:
    """Ranges at once for each large file: one connection alone seldom fills a line, several files together do."""
    return max(1, min(jobs, RANGES) // large_files) if 0 < large_files < ENOUGH else 1


def _with_content(entry: TreeEntry, entries: tuple[TreeEntry, ...]) -> TreeEntry:
    """A locked file may happen to equal a generated one; the bytes are known either way."""
    content = next(e.content for e in entries if e.content is not None)
    return TreeEntry.generated(entry.path, content)


class _Progress:
    """Reports the bytes of one file, and takes them back when they were for nothing."""

    def __init__(self, observer: Observer, entry: TreeEntry, cancelled: threading.Event) -> None:
        self._observer, self._entry, self._bytes = observer, entry, 0
        self._cancelled = cancelled

    def advance(self, count: int) -> None:
        """Count; the hashing of a large file is also where a failure elsewhere is noticed. Raises Cancelled."""
        if self._cancelled.is_set():
            raise Cancelled
        self._bytes += count
        self._observer(Advanced(self._entry.label, count))

    def take_back(self) -> None:
        if self._bytes:
            self._observer(Advanced(self._entry.label, -self._bytes))
            self._bytes = 0
