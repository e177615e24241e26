"""Stores to test against, and the hands to look into them and to damage them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from provisioner.ops.documents import LockDocument
from provisioner.ops.execute import Settings
from provisioner.ops.pull import Patience
from provisioner.ops.transfer import TransferReport, carry_out, prepare
from provisioner.ports.events import Event, Notice, Retrying
from provisioner.ports.source import Source
from provisioner.ports.store import Modes, Store
from provisioner.report import Evidence, Finding
from provisioner.stores.directory import DirectoryStore

QUICK = Patience(attempts=4, base=0.01, cap=0.05, longest=2.0, worth=2**16)  # a machine may stand still: no stall


class Backend(Protocol):
    """A kind of store under test. Object stores join by implementing this.

    Attributes:
        hard_links, chmod: what the place is known to be able to do.
        in_place: files are built where readers will look for them, for want of a rename; only the record makes them a
            release, and a part of a file cannot be read before the file is whole.
    """

    hard_links: bool
    chmod: bool
    in_place: bool

    def open(self, modes: Modes | None = None) -> Store: ...

    def read(self, release: str, path: str) -> bytes: ...

    def overwrite(self, release: str, path: str, content: bytes) -> None: ...

    def delete(self, release: str, path: str) -> None: ...

    def unfinished(self) -> list[str]:
        """Everything in the store that belongs to no release."""
        ...


@dataclass
class DirectoryBackend:
    """A directory store at `root`."""

    root: Path
    hard_links: bool = True
    chmod: bool = True
    in_place: bool = False

    def open(self, modes: Modes | None = None) -> DirectoryStore:
        return DirectoryStore(str(self.root), modes or Modes())

    def path(self, release: str, path: str = "") -> Path:
        return self.root / "releases" / release / path

    def read(self, release: str, path: str) -> bytes:
        return self.path(release, path).read_bytes()

    def overwrite(self, release: str, path: str, content: bytes) -> None:
        target = self.path(release, path)
        target.unlink(missing_ok=True)  # other releases may share the inode
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def delete(self, release: str, path: str) -> None:
        self.path(release, path).unlink()

    def unfinished(self) -> list[str]:
        staging = self.root / "staging"
        return sorted(os.listdir(staging)) if staging.exists() else []


@dataclass
class Run:
    """One transfer and what was said meanwhile."""

    report: TransferReport
    events: list[Event]

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]

    @property
    def retries(self) -> list[Retrying]:
        return [event for event in self.events if isinstance(event, Retrying)]


def transfer(
    document: LockDocument,
    store: Store,
    *sources: Source,
    events: list[Event] | None = None,
    jobs: int = 4,
    anew: bool = False,
    patience: Patience = QUICK,
) -> Run:
    """What `provision fetch` does, quick to lose its patience."""
    seen: list[Event] = [] if events is None else events
    work = prepare(document, store, anew)
    return Run(carry_out(work, document, store, sources, Settings(jobs, patience), seen.append), seen)


def findings(store: Store, release: str, evidence: Evidence = Evidence.REHASHED) -> dict[str, str]:
    """Path -> kind of every finding of a release against its own record."""
    found: list[Finding] = list(store.check(store.record(release), evidence, lambda _: None))
    assert len({finding.path for finding in found}) == len(found)
    return {finding.path: str(finding.kind) for finding in found}


def files_below(folder: Path) -> dict[str, int]:
    """Every file below a folder with its size."""
    return {
        str(Path(place, name).relative_to(folder)): Path(place, name).lstat().st_size
        for place, _, names in os.walk(folder)
        for name in names
    }


def bytes_anywhere(root: Path, needle: bytes) -> list[str]:
    """The files below a folder that contain some bytes."""
    return [path for path in files_below(root) if needle in (root / path).read_bytes()]
