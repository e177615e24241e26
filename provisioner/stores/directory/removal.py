"""Taking things out of sight, and deleting them: a rename first, so that nobody works in what is being deleted."""

from __future__ import annotations

import os
import shutil

from provisioner.errors import StoreError
from provisioner.model import Tree
from provisioner.record import ReleaseRecord, dump
from provisioner.stores.directory import owner
from provisioner.stores.directory.files import IN_USE, replace_file, sync_folder, unique
from provisioner.stores.directory.places import EXPECTED, OWNER, REMOVED, TREE, Places


def discard(places: Places, path: str) -> bool:
    """Delete a folder of the store; False when something of it stays for now, out of sight.

    That is what a reader still has open over NFS (`.nfsXXXX`). Raises OSError when it cannot even be renamed.
    Whoever still thinks the folder his meets ENOENT from then on, also with a rename of something in it.
    """
    doomed = places.build(unique(REMOVED))
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)
    return not os.path.lexists(doomed)


def remove(places: Places, release: str) -> None:
    """Take a release out of sight and delete it. Raises StoreError, OSError."""
    path = places.release(release)
    try:
        discard(places, path)
    except OSError as error:
        if error.errno not in IN_USE:
            raise
        raise StoreError(
            f"Release {release} could not be removed: {path}: {error.strerror}.",
            hint="Over SMB it goes only once no reader has a file of it open; else see who may write to the volume.",
        ) from error
    sync_folder(places.releases)


def retire(places: Places, tree: Tree) -> str:
    """Turn the release of a tree into an abandoned build, from which a later run could take files; its folder.

    Raises OSError.
    """
    folder = places.build(unique(tree.release_id))
    os.mkdir(folder, 0o700)
    replace_file(os.path.join(folder, EXPECTED), dump(ReleaseRecord(tree, tree.digest)), None)
    replace_file(os.path.join(folder, OWNER), owner.GONE, None)
    os.rename(places.release(tree.release_id), os.path.join(folder, TREE))
    sync_folder(places.releases)
    return folder
