"""`release.json`: what a release consists of, written last and read by everyone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from provisioner import __version__
from provisioner.errors import InvalidDocument, Problem
from provisioner.model import RELEASE_ID_LENGTH, Digest, RelPath, Tree, TreeEntry

FORMAT = 1
RECORD_NAME = "release.json"
LOCK_NAME = "models.lock"


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """The record of one release.

    Attributes:
        tree: path, size and digest of every file.
        lock: sha256 of the lock file it was built from.
        created: when it was published, UTC, ISO 8601; "" where unknown.
        tool: name and version of the writer.
    """

    tree: Tree
    lock: Digest
    created: str = ""
    tool: str = f"model-provisioner {__version__}"

    @property
    def release(self) -> str:
        """The release's name."""
        return self.tree.release_id


def dump(record: ReleaseRecord) -> bytes:
    """The record as JSON, one file per line, so that a person can read it and `diff` can show it."""
    head = {
        "format": FORMAT,
        "release": record.release,
        "tree": record.tree.digest,
        "lock": record.lock,
        "created": record.created,
        "tool": record.tool,
    }
    lines = [
        json.dumps({"path": e.path, "size": e.size, "sha256": e.sha256}, ensure_ascii=False)
        for e in record.tree.entries
    ]
    body = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    return (f'{body},\n "files": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n").encode()


def parse(text: bytes, name: str = RECORD_NAME) -> ReleaseRecord:
    """Read a record and check that it describes itself. Raises InvalidDocument."""
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r} is not known to this version")
        record = _record(data)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise _invalid(name, f"not a release record: {error}") from None
    if (record.tree.digest, record.release) != (data["tree"], data["release"]):
        raise _invalid(name, "its tree digest is not the digest of its list of files")
    return record


def _record(data: dict[str, Any]) -> ReleaseRecord:
    entries = [TreeEntry(RelPath(f["path"]), _size(f["size"]), Digest(f["sha256"])) for f in data["files"]]
    if len({entry.path for entry in entries}) != len(entries):
        raise ValueError("a path appears twice")
    return ReleaseRecord(Tree.of(entries), Digest(data["lock"]), str(data["created"]), str(data["tool"]))


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a size is not a number of bytes")
    return value


def _invalid(name: str, message: str) -> InvalidDocument:
    return InvalidDocument(name, (Problem("", message),), hint="Remove the release and mirror it again.")


def is_release_id(text: str) -> bool:
    """Whether a text is the name of a release."""
    return len(text) == RELEASE_ID_LENGTH and set(text) <= set("0123456789abcdef")
