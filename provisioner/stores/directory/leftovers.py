"""What earlier runs left in `staging/` that a new run can use."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, field

from provisioner.errors import InvalidDocument, NotFound
from provisioner.model import Digest, Tree
from provisioner.ports.store import Held
from provisioner.record import parse
from provisioner.stores.directory.copying import inside
from provisioner.stores.directory.files import read_small, translated
from provisioner.stores.directory.owner import Life, life_of
from provisioner.stores.directory.partial import Leftover
from provisioner.stores.directory.places import EXPECTED, PARTIAL, SEALED, STAGING, TREE, Places


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Verified files and partial ones, by digest."""

    files: dict[Digest, Held] = field(default_factory=dict)
    partial: dict[Digest, Leftover] = field(default_factory=dict)


def abandoned(places: Places, now: float) -> Abandoned:
    """Look through every build in the store; `now` is the file system's clock. Raises StoreError, Unavailable."""
    found = Abandoned()
    with translated(places.staging):
        names = sorted(os.listdir(places.staging))
    for name in names:
        with suppress(OSError, InvalidDocument):
            _add(found, places, name, life_of(places.build(name), now))
    return found


def _add(found: Abandoned, places: Places, name: str, life: Life) -> None:
    folder = places.build(name)
    tree = parse(read_small(os.path.join(folder, EXPECTED))).tree
    for top in os.listdir(folder):
        # What is sealed is about to be published: unless its process is certainly gone it may only be read.
        if top == TREE or top.startswith(SEALED + "."):
            movable = life is Life.DEAD or (life is Life.STALE and top == TREE)
            _add_files(found, tree, places, f"{STAGING}/{name}/{top}", movable)
    for child in os.listdir(os.path.join(folder, PARTIAL)):
        with suppress(ValueError, NotFound):
            path = inside(places.root, f"{STAGING}/{name}/{PARTIAL}/{child}")
            _add_partial(found, Digest(child), Leftover(path, life is Life.DEAD))


def _add_files(found: Abandoned, tree: Tree, places: Places, top: str, movable: bool) -> None:
    there = _listed(os.path.join(places.root, top))
    for entry in tree.entries:
        if entry.path not in there:
            continue
        with suppress(OSError):
            if os.lstat(os.path.join(places.root, top, entry.path)).st_size == entry.size:
                found.files.setdefault(entry.sha256, Held(entry.sha256, entry.size, f"{top}/{entry.path}", movable))


def _listed(top: str) -> set[str]:
    """The files below a folder.

    Over NFS opening a folder asks the server for news of it; a file that was once looked for in vain stays missing for
    up to a minute otherwise.
    """
    found = set()
    for folder, _, names in os.walk(top):
        prefix = "" if folder == top else folder[len(top) + 1 :] + "/"
        found |= {prefix + name for name in names}
    return found


def _add_partial(found: Abandoned, digest: Digest, leftover: Leftover) -> None:
    known = found.partial.get(digest)
    if leftover.bytes() and (known is None or known.bytes() < leftover.bytes()):
        found.partial[digest] = leftover
