"""The shares on disk, and what the service remembers beside the bytes.

The disk is the truth: a file that a test writes, damages or removes below the root is what the service then has. Names
are found without regard to case and kept as they were first written, as Azure Files does.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .wire import Refused

CHUNK = 2**20
_BAD_NAME = re.compile(r'[\x00-\x1f"\\:|<>*?]')
_RESERVED = re.compile(r"(?:\.|\.\.|(?:con|prn|aux|nul|clock\$|lpt\d|com\d)(?:\..*)?)", re.IGNORECASE)
_SHARE = re.compile(r"(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST = 255, 2048, 250


@dataclass
class Copying:
    """A copy that was asked for."""

    id: str
    source: str
    status: str
    total: int
    polls: int = 0
    origin: Path | None = None


@dataclass
class Record:
    """What is remembered of one share, directory or file.

    Attributes:
        content: Content headers as they were set, by their `x-ms-` name.
        smb: Attributes and times, by header name.
        ranges: Written spans, first byte to one past the last; None for all of a file found on disk.
    """

    etag: str
    modified: float
    created: float
    meta: dict[str, str] = field(default_factory=dict)
    content: dict[str, str] = field(default_factory=dict)
    smb: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[int, int]] | None = None
    lease: str = ""
    lease_broken: bool = False
    lease_fixed: bool = False
    copying: Copying | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4().int % 2**63))
    quota: int = 5120
    tier: str = "TransactionOptimized"


@dataclass
class Disk:
    """Everything below one folder; the caller holds the server's lock."""

    root: Path
    clock: Callable[[], float]
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    count: itertools.count[int] = field(default_factory=lambda: itertools.count(0x8DD0000000000))

    def share(self, name: str) -> Path:
        """Raises Refused when there is no such share."""
        if not _SHARE.fullmatch(name) and name not in ("$root", "$logs"):
            raise Refused(400, "InvalidResourceName")
        folder = self.root / name
        if not folder.is_dir():
            raise Refused(404, "ShareNotFound")
        return folder

    def new_share(self, name: str) -> Path:
        if not _SHARE.fullmatch(name):
            raise Refused(400, "InvalidResourceName")
        folder = self.root / name
        if folder.exists():
            raise Refused(409, "ShareAlreadyExists")
        folder.mkdir(parents=True)
        return folder

    def shares(self) -> list[str]:
        return sorted(name for name in os.listdir(self.root) if (self.root / name).is_dir())

    def place(self, share: str, path: str, dots: bool) -> Path:
        """Where a path is, or would be; its parent is there.

        Raises:
            Refused: For a share or parent that is not there, or a name Azure does not take.
        """
        place = self.share(share)
        names = _checked(path, dots)
        for number, name in enumerate(names, 1):
            here = _find(place, name)
            if number < len(names) and not here.is_dir():
                raise Refused(404, "ParentNotFound")
            place = here
        return place

    def record(self, place: Path) -> Record:
        """What is remembered of something that exists."""
        key = self._key(place)
        if key not in self.records:
            self.records[key] = Record(self._etag(), self.clock(), self.clock())
        return self.records[key]

    def renew(self, place: Path) -> Record:
        """A new record in place of any there was."""
        self.forget(place)
        return self.record(place)

    def touch(self, place: Path) -> Record:
        record = self.record(place)
        record.etag, record.modified = self._etag(), self.clock()
        return record

    def forget(self, place: Path) -> None:
        """Nothing is remembered of a place nor of what is below it."""
        share, path = self._key(place)
        for key in [key for key in self.records if key[0] == share and _within(key[1], path)]:
            del self.records[key]

    def move(self, origin: Path, target: Path) -> None:
        """Rename on disk and take the memory along."""
        (share, old), (_, new) = self._key(origin), self._key(target)
        moved = {key: record for key, record in self.records.items() if key[0] == share and _within(key[1], old)}
        for key in moved:
            del self.records[key]
        if old != new:
            self.forget(target)
        os.rename(origin, target)
        for (_, path), record in moved.items():
            self.records[share, new + path[len(old) :]] = record

    def used(self, share: str) -> int:
        """Bytes that count against a share's quota: what was written, not what was reserved."""
        folder = self.root / share
        return sum(self.written(Path(at, name)) for at, _, names in os.walk(folder) for name in names)

    def written(self, place: Path) -> int:
        record = self.records.get(self._key(place))
        if record is None or record.ranges is None:
            return place.stat().st_size
        return sum(end - start for start, end in record.ranges)

    def _key(self, place: Path) -> tuple[str, str]:
        share, _, path = str(place.relative_to(self.root)).partition("/")
        return share, path.lower()

    def _etag(self) -> str:
        return f'"0x{next(self.count):X}"'


def relative(place: Path, root: Path) -> str:
    """A place's path inside its share."""
    return str(place.relative_to(root)).partition("/")[2]


def add_span(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Spans with one more, touching ones joined."""
    joined = [span for span in spans if span[1] < start or span[0] > end]
    touching = [span for span in spans if not (span[1] < start or span[0] > end)]
    low, high = min([start, *(span[0] for span in touching)]), max([end, *(span[1] for span in touching)])
    return sorted([*joined, (low, high)])


def cut_span(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Spans without the bytes from start to end."""
    left = [(low, min(high, start)) for low, high in spans if low < start]
    right = [(max(low, end), high) for low, high in spans if high > end]
    return sorted({*left, *right})


def copy_sparse(origin: Path, target: Path) -> None:
    """Copy the bytes, leaving holes as holes."""
    with open(origin, "rb") as read, open(target, "wb") as write:
        size = os.fstat(read.fileno()).st_size
        os.ftruncate(write.fileno(), size)
        at = 0
        while at < size:
            try:
                at = os.lseek(read.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole from here on
                return
            end = os.lseek(read.fileno(), at, os.SEEK_HOLE)
            while at < end:
                data = os.pread(read.fileno(), min(CHUNK, end - at), at)
                at += os.pwrite(write.fileno(), data, at)


def clear(place: Path, start: int, end: int) -> None:
    """Zeros in place of the bytes from start to end."""
    with open(place, "r+b") as file:
        while start < end:
            start += os.pwrite(file.fileno(), bytes(min(CHUNK, end - start)), start)


def remove_share(folder: Path) -> None:
    shutil.rmtree(folder)


def _within(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(folder + "/")


def _checked(path: str, dots: bool) -> list[str]:
    if not path:
        return []
    names = [name if dots or name in (".", "..") else name.rstrip(".") for name in path.split("/")]
    if len(names) > _DEEPEST or len(path) > _LONGEST_PATH:
        raise Refused(400, "InvalidFileOrDirectoryPathName")
    for name in names:
        if not name or _BAD_NAME.search(name) or _RESERVED.fullmatch(name):
            raise Refused(400, "InvalidResourceName")
        if len(name) > _LONGEST_NAME or len(name.encode()) > _LONGEST_NAME:
            raise Refused(400, "InvalidFileOrDirectoryPathName")
    return names


def _find(folder: Path, name: str) -> Path:
    exact = folder / name
    if os.path.lexists(exact):
        return exact
    low = name.lower()
    return next((folder / there for there in os.listdir(folder) if there.lower() == low), exact)
