"""Copies on the server's side, at once or after some polls."""

from __future__ import annotations

import os
import uuid
from email.utils import formatdate
from pathlib import Path

from .disk import Copying, Disk, Record, copy_sparse
from .wire import Asked, Refused, Reply, Target


def source(disk: Disk, asked: Asked) -> Path:
    """The file that `x-ms-copy-source` names; `Keeper` has admitted it already.

    Raises:
        Refused: When it is not there.
    """
    target = source_target(asked)
    place = disk.place(target.share, target.path, asked.flag("x-ms-source-allow-trailing-dot"))
    if not place.is_file():
        raise Refused(404, "ResourceNotFound")
    return place


def source_target(asked: Asked) -> Target:
    return Target.parse(asked.headers["x-ms-copy-source"], asked.target.account)


def start(disk: Disk, origin: Path, target: Path, asked: Asked, meta: dict[str, str], lease: str, polls: int) -> Reply:
    """Copy now, or be pending for so many looks at the target."""
    old, size = disk.record(origin), origin.stat().st_size
    kept, content = dict(meta or old.meta), dict(old.content)
    copying = Copying(str(uuid.uuid4()), asked.headers["x-ms-copy-source"].partition("?")[0], "success", size)
    if origin != target:
        target.unlink(missing_ok=True)
        with open(target, "wb") as file:
            os.ftruncate(file.fileno(), size)
        record = disk.renew(target)
    else:
        record = disk.touch(target)
    record.meta, record.content, record.lease, record.copying, record.ranges = kept, content, lease, copying, []
    copying.origin = origin
    if polls:
        copying.status, copying.polls = "pending", polls
    else:
        _finish(disk, target, record)
    modified = formatdate(record.modified, usegmt=True)
    state = {"x-ms-copy-id": copying.id, "x-ms-copy-status": copying.status}
    return Reply(202, {**state, "ETag": record.etag, "Last-Modified": modified})


def poll(disk: Disk, place: Path, record: Record) -> None:
    """One look at a file that may be the target of a pending copy."""
    copying = record.copying
    if copying and copying.status == "pending":
        copying.polls -= 1
        if copying.polls < 0:
            copying.status = "success"
            _finish(disk, place, record)
            record.modified = disk.touch(place).modified


def abort(place: Path, record: Record, asked: Asked) -> None:
    """A pending copy ends with an empty file, as Azure leaves it."""
    copying = record.copying
    if not copying or copying.status != "pending":
        raise Refused(409, "NoPendingCopyOperation")
    if copying.id != asked.query.get("copyid"):
        raise Refused(409, "CopyIdMismatch")
    copying.status = "aborted"
    os.truncate(place, 0)


def headers(record: Record) -> dict[str, str]:
    copying = record.copying
    if not copying:
        return {}
    done = copying.total if copying.status == "success" else 0
    shown = {
        "x-ms-copy-id": copying.id,
        "x-ms-copy-source": copying.source,
        "x-ms-copy-status": copying.status,
        "x-ms-copy-progress": f"{done}/{copying.total}",
    }
    if copying.status != "pending":
        shown["x-ms-copy-completion-time"] = formatdate(record.modified, usegmt=True)
    return shown


def _finish(disk: Disk, target: Path, record: Record) -> None:
    origin = record.copying.origin if record.copying else None
    if origin is None or not origin.is_file():
        if record.copying:
            record.copying.status = "failed"
        return
    if origin != target:
        copy_sparse(origin, target)
    spans = disk.record(origin).ranges
    record.ranges = None if spans is None else list(spans)
