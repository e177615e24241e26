"""What earlier runs left in `staging/` that a new run can use, or that can be deleted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from provisioner.errors import InvalidDocument, NotFound, ProvisionError
from provisioner.model import Digest, Tree
from provisioner.ports.store import Held
from provisioner.record import parse
from provisioner.stores.azurefiles.share import WRITTEN, Child, Share
from provisioner.stores.azurefiles.walking import Found, delete_all, discard, join, walk
from provisioner.stores.directory.places import EXPECTED, OWNER, PARTIAL, REMOVED, SEALED, STAGING, TREE, Places
from provisioner.stores.owner import STALE_SECONDS, Life, life


@dataclass(frozen=True, slots=True)
class Leftover:
    """A partial file of an earlier run.

    Attributes:
        size: of the whole file.
        bytes: from the start, that were written.
        free: its process is certainly gone, so the file may be taken; else it is only read.
    """

    path: str
    size: int
    bytes: int
    free: bool


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Verified files and partial ones, by digest."""

    files: dict[Digest, Held] = field(default_factory=dict)
    partial: dict[Digest, Leftover] = field(default_factory=dict)


def life_of(share: Share, build: str) -> Life:
    """What is known of a build's process, by the service's clock."""
    path = join(build, OWNER)
    with suppress(NotFound):
        age = share.stat(path).age
        return life(share.read_small(path, 4096), age)
    with suppress(NotFound):
        return life(None, share.folder_age(build))
    return Life.DEAD


def abandoned(share: Share, places: Places) -> Abandoned:
    """Look through every build in the store. Raises what a listing raises."""
    found = Abandoned()
    for child in sorted(share.list(places.staging), key=lambda child: child.name):
        if child.size is None and not child.name.startswith(REMOVED):
            with suppress(NotFound, InvalidDocument):
                _add(found, share, places, child.name)
    return found


def _add(found: Abandoned, share: Share, places: Places, name: str) -> None:
    folder = places.build(name)
    tree = parse(share.read_small(join(folder, EXPECTED))).tree
    state, there = life_of(share, folder), walk(share, folder)
    for top in sorted({path.partition("/")[0] for path in there.folders}):
        # What is sealed is about to be published: unless its process is certainly gone it may only be read.
        if top == TREE or top.startswith(SEALED + "."):
            movable = state is Life.DEAD or (state is Life.STALE and top == TREE)
            _add_files(found, tree, there, name, top, movable)
    for path, size in there.files.items():
        if path.startswith(f"{PARTIAL}/") and size:
            with suppress(NotFound):
                _add_partial(found, share, join(folder, path), size, state is Life.DEAD)


def _add_files(found: Abandoned, tree: Tree, there: Found, name: str, top: str, movable: bool) -> None:
    for entry in tree.entries:
        if there.files.get(f"{top}/{entry.path}") == entry.size:
            place = f"{STAGING}/{name}/{top}/{entry.path}"
            found.files.setdefault(entry.sha256, Held(entry.sha256, entry.size, place, movable))


def _add_partial(found: Abandoned, share: Share, path: str, size: int, free: bool) -> None:
    try:
        digest = Digest(path.rpartition("/")[2].partition(".")[0])
    except ValueError:  # not ours
        return
    written = share.stat(path).metadata.get(WRITTEN, "")
    count = min(share.prefix(path), int(written) if written.isdecimal() else size)
    known = found.partial.get(digest)
    if count and (known is None or known.bytes < count):
        found.partial[digest] = Leftover(path, size, count, free)


def sweep(share: Share, places: Places, release: str | None) -> tuple[str, ...]:
    """Delete what dead runs left behind, of one release or of all; the names of it."""
    try:
        children = share.list(places.staging)
    except NotFound:
        return ()
    wanted = [child for child in children if release is None or child.name.startswith(f"{release}.")]
    gone = [child.name for child in wanted if _sweep(share, places, child)]
    return tuple(f"{STAGING}/{name}" for name in sorted(gone))


def _sweep(share: Share, places: Places, child: Child) -> bool:
    path = places.build(child.name)
    with suppress(NotFound):  # another sweep was quicker
        if child.size is not None:
            if share.stat(path).age < STALE_SECONDS:
                return False
            share.delete(path)
        elif child.name.startswith(REMOVED):
            delete_all(share, path)
        elif life_of(share, path) is Life.ALIVE:
            return False
        else:
            with suppress(ProvisionError):
                discard(share, places, path)
        return True
    return False
