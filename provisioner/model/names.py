"""Validated names: digests, commits, repositories and relative paths.

Each is a `str` that was checked once, when it was made, so that nothing below has to check it again.
"""

from __future__ import annotations

import re
from typing import Self

_HEX40 = re.compile(r"[0-9a-f]{40}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_REPO = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./+-]{0,254}", re.ASCII)
# Windows device names and these characters cannot be stored on SMB (Azure Files) and vfat.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f\\:*?"<>|]')
# What nearly every path is: accepted at once.
_PLAIN = re.compile(
    r"(?!.{801})(?:(?!(?:con|prn|aux|nul|com[0-9]|lpt[0-9])[./]|(?:con|prn|aux|nul|com[0-9]|lpt[0-9])$)"
    r"[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,200}[A-Za-z0-9_-])?(?:/(?!$)|$))+",
    re.IGNORECASE | re.ASCII,
)
_MAX_PATH_BYTES = 900  # an S3 key holds 1,024 bytes, the store's prefix included
_MAX_NAME_BYTES = 255


class Digest(str):
    """A sha256, 64 lower-case hex digits. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _HEX64.fullmatch(text):
            raise ValueError("not a sha256 (64 lower-case hex digits)")
        return super().__new__(cls, text)


class GitSha1(str):
    """The git blob id of a file, 40 lower-case hex digits. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _HEX40.fullmatch(text):
            raise ValueError("not a git sha1 (40 lower-case hex digits)")
        return super().__new__(cls, text)


class Commit(str):
    """A commit, 40 lower-case hex digits. Raises ValueError for anything else, a branch name included."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _HEX40.fullmatch(text):
            raise ValueError("not a commit (40 lower-case hex digits); a branch or tag is no pin")
        return super().__new__(cls, text)


class RepoId(str):
    """A Hub repository, `ORG/NAME` or the legacy `NAME`. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _REPO.fullmatch(text) or "--" in text or ".." in text or text.endswith((".git", ".", "-")):
            raise ValueError("not a repository name (ORG/NAME)")
        return super().__new__(cls, text)

    @property
    def name(self) -> str:
        """The last component: `all-MiniLM-L6-v2`."""
        return self.rpartition("/")[2]

    @property
    def cache_folder(self) -> str:
        """The folder of the Hub cache: `models--ORG--NAME`."""
        return "models--" + self.replace("/", "--")


class Revision(str):
    """A branch, tag, `refs/pr/N` or commit as asked for. Raises ValueError for anything else."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not _REVISION.fullmatch(text) or text.endswith((".lock", "/")):
            raise ValueError("not a revision (a branch, tag or commit)")
        RelPath(text)  # it becomes the file name refs/REVISION
        return super().__new__(cls, text)


class RelPath(str):
    """A relative path with `/`, safe on every store we know. Raises ValueError naming what is wrong."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        problem = _path_problem(text)
        if problem:
            raise ValueError(problem)
        return super().__new__(cls, text)

    def __truediv__(self, other: str) -> RelPath:
        return RelPath(f"{self}/{other}")

    @property
    def parents(self) -> tuple[str, ...]:
        """Every folder above, outermost first: `a/b/c` gives `("a", "a/b")`."""
        parts = self.split("/")
        return tuple("/".join(parts[:depth]) for depth in range(1, len(parts)))

    @property
    def name(self) -> str:
        """The last component."""
        return self.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Everything before the last component, or ""."""
        return self.rpartition("/")[0]


def _path_problem(text: str) -> str:
    if _PLAIN.fullmatch(text) and not text.endswith("\n"):
        return ""
    if not text:
        return "an empty path"
    if text.startswith("/"):
        return "an absolute path"
    if _FORBIDDEN.search(text):
        return 'a path with a character that not every store can hold (control, \\ : * ? " < > |)'
    try:
        if len(text.encode()) > _MAX_PATH_BYTES:
            return f"a path longer than {_MAX_PATH_BYTES} bytes"
    except UnicodeEncodeError:
        return "a path that is not valid Unicode"
    return next(filter(None, map(_part_problem, text.split("/"))), "")


def _part_problem(part: str) -> str:
    if part in ("", ".", ".."):
        return "a path with an empty, '.' or '..' component"
    if part != part.strip(" ") or part.endswith("."):
        return "a path component that begins or ends with a space or ends with a dot"
    if _RESERVED.fullmatch(part):
        return f"a path with the reserved name {part!r}"
    if len(part.encode()) > _MAX_NAME_BYTES:
        return f"a path component longer than {_MAX_NAME_BYTES} bytes"
    return ""


def collisions(paths: tuple[RelPath, ...]) -> tuple[tuple[RelPath, RelPath], ...]:
    """Pairs of paths that cannot stand beside each other on every store.

    Equal but for case or Unicode form (SMB and vfat fold them), in folders that are, or one a folder above the other.
    """
    found = []
    seen: dict[str, RelPath] = {}
    for path in paths:
        if (other := seen.setdefault(_folded(path), path)) is not path:
            found.append((other, path))
    folders: dict[str, RelPath] = {}
    for path in paths:
        for parent in path.parents:
            if not (other := folders.setdefault(_folded(parent), path)).startswith(f"{parent}/"):
                found.append((other, path))
    found += [(seen[key], path) for path in paths for parent in path.parents if (key := _folded(parent)) in seen]
    return tuple(dict.fromkeys(found))


def _folded(text: str) -> str:
    import unicodedata  # only here: most locks are ASCII and start-up counts

    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).casefold()
