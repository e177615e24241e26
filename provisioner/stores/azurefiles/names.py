"""Names that an Azure file share cannot hold, beyond those that no lock holds."""

from __future__ import annotations

import re

from provisioner.errors import InvalidInput
from provisioner.model import RelPath, Tree, collisions

# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-shares--directories--files--and-metadata
_FORBIDDEN = re.compile(r"[\x80-\x9f\ue000-\uf8ff\ufffe\uffff]")
_RESERVED = re.compile(r"(?:clock\$)(?:\..*)?", re.IGNORECASE)
_MOST_FOLDERS = 250
_LONGEST_NAME = 255
_LONGEST_PATH = 2048


def require_names(tree: Tree, root: str) -> None:
    """Raise InvalidInput, naming the path, when a tree below the folder `root` cannot be in a share as it is."""
    for entry in tree.entries:
        if problem := _problem(entry.path, root):
            raise _refused(entry.path, problem)
    for first, second in collisions(tuple(entry.path for entry in tree.entries)):
        raise _refused(second, f"differs from {first} only in case or form, or one is a folder above the other")


def _refused(path: str, problem: str) -> InvalidInput:
    return InvalidInput(
        f"Azure Files cannot hold {path!r}: {problem}.", hint="Exclude the file from the lock, or choose another store."
    )


def _problem(path: RelPath, root: str) -> str:
    parts = path.split("/")
    above = root.count("/") + 6 if root else 5  # staging/ID.NONCE/tree, and some room
    if len(parts) + above > _MOST_FOLDERS:
        return f"it is more than {_MOST_FOLDERS} folders deep"
    if len(path) + len(root) + 60 > _LONGEST_PATH:
        return f"it is longer than {_LONGEST_PATH} characters"
    if _FORBIDDEN.search(path):
        return "it has a character that is not allowed there"
    if any(_RESERVED.fullmatch(part) for part in parts):
        return "it has a reserved name"
    if any(len(part.encode("utf-16-le")) // 2 > _LONGEST_NAME for part in parts):
        return f"it has a name longer than {_LONGEST_NAME} characters"
    return ""
