"""Stores to test against, and the hands to look into them and to damage them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
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

QUICK = Patience(attempts=4, base=0.01, cap=0.05, longest=2.0, worth=2**16, stall_seconds=0.5)


class Backend(Protocol):
    """A kind of store under test. Object stores join by implementing this.

    Attributes:
        hard_links, chmod: what the place is known to be able to do.
    """

    hard_links: bool
    chmod: bool

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
) -> Run:
    """What `provision fetch` does, quick to lose its patience."""
    seen: list[Event] = [] if events is None else events
    work = prepare(document, store, anew)
    return Run(carry_out(work, document, store, sources, Settings(jobs, QUICK), seen.append), seen)


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


@cache
def cannot_mount() -> str:
    """Why nothing can be mounted here, or ""."""
    if os.geteuid() != 0:
        return "mounting needs root"
    with_tmp = Path(f"/tmp/provisioner-mount-{os.getpid()}")
    with_tmp.mkdir()
    try:
        done = _run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(with_tmp))
        if done:
            return f"mount does not work here: {done}"
        unmount(with_tmp)
        return ""
    finally:
        with_tmp.rmdir()


def tmpfs(point: Path, **options: str) -> str:
    """Mount a tmpfs; "" or what went wrong."""
    given = ",".join(f"{name}={value}" for name, value in options.items())
    return _run("mount", "-t", "tmpfs", "-o", given, "tmpfs", str(point))


def exfat(point: Path, scratch: Path) -> str:
    """Mount a file system with neither hard links nor modes, nor case; "" or why not."""
    image = scratch / "exfat.img"
    image.touch()
    os.truncate(image, 64 * 2**20)
    if shutil.which("mkfs.vfat") and "vfat" in Path("/proc/filesystems").read_text():
        return _run("mkfs.vfat", str(image)) or _run("mount", "-o", "loop,quiet", str(image), str(point))
    if not (shutil.which("mkfs.exfat") and shutil.which("mount.exfat-fuse")):
        return "neither a vfat kernel with mkfs.vfat nor exfat-fuse with mkfs.exfat is here"
    if problem := _run("mkfs.exfat", str(image)):
        return problem
    device = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True)
    if device.returncode:
        return f"losetup: {device.stderr.strip()}"
    problem = _run("mount.exfat-fuse", device.stdout.strip(), str(point))
    _run("losetup", "-d", device.stdout.strip())  # goes once it is unmounted
    return problem


def unmount(point: Path) -> None:
    for _ in range(50):
        if not _run("umount", str(point)):
            return
        time.sleep(0.05)
    _run("umount", "-l", str(point))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    return f"{command[0]}: {(done.stderr or done.stdout).strip() or done.returncode}" if done.returncode else ""
