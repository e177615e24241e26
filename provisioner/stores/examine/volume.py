"""The file system that a folder is on."""

from __future__ import annotations

import os
import threading

from provisioner.errors import StoreError
from provisioner.report.health import Answer, fine, not_tried, warning
from provisioner.stores.directory.files import translated
from provisioner.stores.directory.probe import free_bytes
from provisioner.stores.examine.mounts import judged, mount_of

LITTLE_BYTES, FEW_INODES = 10**9, 1000


def mount(path: str) -> Answer:
    """Its type and options. Raises StoreError when it is read-only."""
    try:
        with open("/proc/self/mountinfo") as file:
            found = mount_of(path, file.read())
    except OSError:
        found = None
    if found is None:
        return not_tried("this system does not show its mounts")
    if found.is_read_only:
        raise StoreError(
            f"Mounted read-only: {found}.", hint="Readers need no more than this; for the writer mount it read-write."
        )
    return judged(found)


def owner(path: str) -> Answer:
    """Who we are, and whose folder it is."""
    with translated(path):
        found = os.stat(path)
    us = f"we are uid {os.getuid()}, gid {os.getgid()}"
    return fine(f"{us}; {path} is of uid {found.st_uid}, gid {found.st_gid}, mode {found.st_mode & 0o7777:04o}")


def space(path: str) -> Answer:
    """Room for bytes and for files."""
    with translated(path):
        numbers = os.statvfs(path)
    free, inodes = free_bytes(path), numbers.f_favail if numbers.f_files else None
    if free is None:
        return not_tried("the file system does not say")
    detail = f"{free / 10**9:.1f} GB free" + ("" if inodes is None else f", {inodes:,} inodes free")
    if free < LITTLE_BYTES or (inodes is not None and inodes < FEW_INODES):
        return warning(detail, "Enlarge the volume, or free space with: provision releases prune --keep 2")
    return fine(detail)


class Watcher:
    """Reads a file as fast as it can, and counts how often it was not whole."""

    def __init__(self, path: str) -> None:
        self._path, self.gaps = path, 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(0.0005):
            try:
                with open(self._path, "rb") as file:
                    content = file.read()
            except OSError:
                content = b""
            self.gaps += len(content) != 100 or len(set(content)) != 1

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()
