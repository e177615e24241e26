"""What requests and answers say of files and directories in headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import formatdate

from .disk import Record
from .wire import Asked, Refused

CONTENT = {
    "x-ms-content-type": "Content-Type",
    "x-ms-content-encoding": "Content-Encoding",
    "x-ms-content-language": "Content-Language",
    "x-ms-cache-control": "Cache-Control",
    "x-ms-content-disposition": "Content-Disposition",
    "x-ms-content-md5": "Content-MD5",
}
_SMB = ("x-ms-file-attributes", "x-ms-file-creation-time", "x-ms-file-last-write-time", "x-ms-file-change-time")
META = "x-ms-meta-"
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LARGEST_META = 8 * 1024


def dots(asked: Asked, header: str = "x-ms-allow-trailing-dot") -> bool:
    return asked.flag(header)


def version(record: Record) -> dict[str, str]:
    return {"ETag": record.etag, "Last-Modified": formatdate(record.modified, usegmt=True)}


def meta(asked: Asked) -> dict[str, str]:
    """The metadata of a request.

    Raises:
        Refused: When a name is no identifier, or all of it is too long.
    """
    given = {name.removeprefix(META): value for name, value in asked.headers.items() if name.startswith(META)}
    for name in given:
        if not name:
            raise Refused(400, "EmptyMetadataKey")
        if not _IDENTIFIER.fullmatch(name):
            raise Refused(400, "InvalidMetadata")
    if sum(len(name) + len(value) for name, value in given.items()) > _LARGEST_META:
        raise Refused(400, "MetadataTooLarge")
    return given


def smb(record: Record, directory: bool) -> dict[str, str]:
    """Attributes, times and ids."""
    times = (record.created, record.modified, record.modified)
    kept = {name: record.smb.get(name, _iso(at)) for name, at in zip(_SMB[1:], times, strict=True)}
    attributes = record.smb.get(_SMB[0], "Directory" if directory else "Archive")
    ids = {"x-ms-file-id": record.id, "x-ms-file-parent-id": "0", "x-ms-file-permission-key": "1*1"}
    return {**kept, "x-ms-file-attributes": attributes, **ids}


def take_smb(record: Record, asked: Asked) -> None:
    """Remember what is said of attributes and times; `now`, `preserve`, `none` leave the defaults."""
    for name in _SMB:
        value = asked.headers.get(name, "")
        if value.lower() not in ("", "now", "preserve", "none"):
            record.smb[name] = value


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
