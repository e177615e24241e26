"""Taking things out of sight, and deleting them: a rename first, so that nobody works in what is being deleted."""

from __future__ import annotations

import os
import shutil

from provisioner.model import Tree
from provisioner.record import ReleaseRecord, dump
from provisioner.stores.directory import owner
from provisioner.stores.directory.files import replace_file, sync_folder, unique
from provisioner.stores.directory.places import EXPECTED, OWNER, REMOVED, TREE, Places


def discard(places: Places, path: str) -> None:
    """Delete a folder of the store. Raises OSError when it cannot even be renamed.

    Whoever still thinks the folder his meets ENOENT from then on, also with a rename of something in it.
    """
    doomed = places.build(unique(REMOVED))
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


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
