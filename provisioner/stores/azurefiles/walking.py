"""Whole folders of a share: listed, made and deleted, many requests at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from provisioner.errors import NotFound, ProvisionError
from provisioner.stores.azurefiles.share import Share
from provisioner.stores.directory.files import unique
from provisioner.stores.directory.places import REMOVED, Places

WORKERS = 16
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Found:
    """Everything below a folder, by paths relative to it.

    Attributes:
        files: path -> bytes.
    """

    files: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def each(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call `work` for every item, many at once. Raises the first failure; what has not begun does not begin then."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    pool = ThreadPoolExecutor(min(WORKERS, len(todo)), thread_name_prefix="share")
    try:
        return list(pool.map(work, todo))
    finally:
        pool.shutdown(cancel_futures=True)


def walk(share: Share, top: str) -> Found:
    """List a folder and all below it, one request for each folder and page. Raises NotFound."""
    found, level = Found(), [""]
    while level:
        listed = each(lambda folder: share.list(join(top, folder)), level)
        below = [
            (join(folder, child.name), child.size) for folder, all_ in zip(level, listed, strict=True) for child in all_
        ]
        found.files.update((path, size) for path, size in below if size is not None)
        level = [path for path, size in below if size is None]
        found.folders.update(level)
    return found


def make_folders(share: Share, folders: Iterable[str]) -> None:
    """Make folders, those above first."""
    depths: dict[int, set[str]] = {}
    for folder in folders:
        depths.setdefault(folder.count("/"), set()).add(folder)
    for depth in sorted(depths):
        each(share.make_folder, sorted(depths[depth]))


def discard(share: Share, places: Places, path: str) -> None:
    """Delete a folder of the store: out of sight by one rename first. Raises when it cannot even be renamed.

    Whoever still thinks the folder his finds nothing from then on, also with a rename of something in it.
    """
    doomed = places.build(unique(REMOVED))
    share.move_folder(path, doomed)
    delete_all(share, doomed)


def delete_all(share: Share, top: str) -> None:
    """Delete a folder that nobody looks at any more; what resists is left for the next sweep."""
    with suppress(ProvisionError):
        found = walk(share, top)
        each(_forgiving(share.delete), [join(top, path) for path in found.files])
        depths: dict[int, list[str]] = {}
        for folder in found.folders:
            depths.setdefault(folder.count("/"), []).append(join(top, folder))
        for depth in sorted(depths, reverse=True):
            each(_forgiving(share.delete_folder), depths[depth])
        share.delete_folder(top)


def _forgiving(delete: Callable[[str], None]) -> Callable[[str], None]:
    def work(path: str) -> None:
        with suppress(NotFound):  # another sweep was quicker
            delete(path)

    return work


def join(folder: str, name: str) -> str:
    """A path below a folder, which may be ""."""
    return f"{folder}/{name}" if folder and name else folder or name
