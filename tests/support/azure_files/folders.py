"""Directories and shares."""

from __future__ import annotations

import base64
import binascii
import os
from email.utils import formatdate
from pathlib import Path

from . import leases
from .disk import Disk, relative, remove_share
from .facts import META, dots, meta, smb, take_smb, version
from .files import renamed_from, spelled
from .wire import Asked, Refused, Reply, attributes, element, xml

MOST_RESULTS = 5000


class Folders:
    """Operations on directories and shares; the caller holds the server's lock.

    Attributes:
        page: Entries of one page where the client names no number; never more than this either.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.page = MOST_RESULTS

    def place(self, asked: Asked) -> Path:
        return self.disk.place(asked.share, asked.path, dots(asked))

    def existing(self, asked: Asked) -> Path:
        return there(self.place(asked))

    def create(self, asked: Asked) -> Reply:
        place, given = self.place(asked), meta(asked)
        if place.exists():
            raise Refused(409, "ResourceAlreadyExists" if place.is_dir() else "ResourceTypeMismatch")
        place.mkdir()
        record = self.disk.renew(place)
        record.meta = given
        take_smb(record, asked)
        return Reply(201, {**version(record), **smb(record, True)})

    def properties(self, asked: Asked) -> Reply:
        record = self.disk.record(self.existing(asked))
        named = {META + name: value for name, value in record.meta.items()}
        return Reply(200, {**version(record), **named, **smb(record, True), "x-ms-server-encrypted": "true"})

    def set_meta(self, asked: Asked) -> Reply:
        place, given = self.existing(asked), meta(asked)
        self.disk.record(place).meta = given
        return Reply(200, version(self.disk.touch(place)))

    def set_properties(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        take_smb(self.disk.record(place), asked)
        record = self.disk.touch(place)
        return Reply(200, {**version(record), **smb(record, True)})

    def delete(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        if not asked.path:
            raise Refused(400, "InvalidResourceName")
        if os.listdir(place):
            raise Refused(409, "DirectoryNotEmpty")
        place.rmdir()
        self.disk.forget(place)
        return Reply(202)

    def rename(self, asked: Asked) -> Reply:
        """A directory never replaces anything, whatever is asked for."""
        target = self.place(asked)
        origin = there(renamed_from(self.disk, asked))
        if target.exists() and str(target).lower() != str(origin).lower():
            raise Refused(409, "ResourceAlreadyExists")
        if str(target).lower().startswith(f"{origin}/".lower()):
            raise Refused(400, "InvalidUri")
        target = spelled(target, asked)
        self.disk.move(origin, target)
        record = self.disk.touch(target)
        record.meta = meta(asked) or record.meta
        return Reply(200, {**version(record), **smb(record, True)})

    def list(self, asked: Asked, endpoint: str) -> Reply:
        """One page of a directory, sorted by name without regard to case; metadata is never part of it."""
        place, prefix = self.existing(asked), asked.query.get("prefix", "")
        after, most = _unmark(asked.query.get("marker", "")), self._most(asked)
        names = sorted(os.listdir(place), key=lambda name: (name.lower(), name))
        wanted = [name for name in names if name.lower().startswith(prefix.lower()) and name.lower() > after]
        shown = wanted[:most]
        include = set(filter(None, asked.query.get("include", "").lower().split(",")))
        rows = "".join(self._entry(place / name, include) for name in shown)
        more = _mark(shown[-1]) if len(wanted) > len(shown) else ""
        said = attributes(
            ServiceEndpoint=endpoint, ShareName=asked.share, DirectoryPath=relative(place, self.disk.root)
        )
        tail = f"<DirectoryId>{self.disk.record(place).id}</DirectoryId>"
        return _listing(asked, said, f"<Entries>{rows}</Entries>", more, tail)

    def _entry(self, place: Path, include: set[str]) -> str:
        record, folder = self.disk.record(place), place.is_dir()
        facts = "" if folder else element("Content-Length", str(place.stat().st_size))
        known = smb(record, folder)
        if "timestamps" in include:
            written = known["x-ms-file-last-write-time"]
            facts += element("CreationTime", known["x-ms-file-creation-time"]) + element("LastAccessTime", written)
            facts += element("LastWriteTime", written) + element("ChangeTime", known["x-ms-file-change-time"])
            facts += element("Last-Modified", formatdate(record.modified, usegmt=True))
        facts += element("Etag", record.etag) if "etag" in include else ""
        more = element("Attributes", known["x-ms-file-attributes"]) if "attributes" in include else ""
        more += element("PermissionKey", "1*1") if "permissionkey" in include else ""
        body = element("Name", place.name) + element("FileId", record.id) + f"<Properties>{facts}</Properties>{more}"
        return f"<Directory>{body}</Directory>" if folder else f"<File>{body}</File>"

    def _most(self, asked: Asked) -> int:
        given = int(asked.query.get("maxresults", str(MOST_RESULTS)))
        if not 1 <= given <= MOST_RESULTS:
            raise Refused(400, "OutOfRangeQueryParameterValue")
        return min(given, self.page)

    def create_share(self, asked: Asked) -> Reply:
        given = meta(asked)
        place = self.disk.new_share(asked.share)
        record = self.disk.renew(place)
        record.meta, record.quota = given, _quota(asked, record.quota)
        record.tier = asked.headers.get("x-ms-access-tier", record.tier)
        return Reply(201, version(record))

    def share_properties(self, asked: Asked) -> Reply:
        record = self.disk.record(self.disk.share(asked.share))
        named = {META + name: value for name, value in record.meta.items()}
        facts = {
            "x-ms-share-quota": str(record.quota),
            "x-ms-access-tier": record.tier,
            "x-ms-enabled-protocols": "SMB",
        }
        return Reply(200, {**version(record), **named, **facts, **leases.headers(record)})

    def set_share_properties(self, asked: Asked) -> Reply:
        place = self.disk.share(asked.share)
        record = self.disk.record(place)
        leases.guard(record if "x-ms-lease-id" in asked.headers else None, asked, kind="Share")
        record.quota = _quota(asked, record.quota)
        return Reply(200, version(self.disk.touch(place)))

    def set_share_meta(self, asked: Asked) -> Reply:
        place, given = self.disk.share(asked.share), meta(asked)
        self.disk.record(place).meta = given
        return Reply(200, version(self.disk.touch(place)))

    def share_stats(self, asked: Asked) -> Reply:
        record = self.disk.record(self.disk.share(asked.share))
        body = f"<ShareStats>{element('ShareUsageBytes', str(self.disk.used(asked.share)))}</ShareStats>"
        return Reply(200, {**version(record), "Content-Type": "application/xml"}, xml(body))

    def lease_share(self, asked: Asked) -> Reply:
        record = self.disk.record(self.disk.share(asked.share))
        reply = leases.lease(record, asked)
        reply.headers.update(version(record))
        return reply

    def delete_share(self, asked: Asked) -> Reply:
        place = self.disk.share(asked.share)
        leases.guard(self.disk.record(place), asked, kind="Share")
        remove_share(place)
        self.disk.forget(place)
        return Reply(202)

    def list_shares(self, asked: Asked, endpoint: str) -> Reply:
        prefix, after = asked.query.get("prefix", ""), _unmark(asked.query.get("marker", ""))
        wanted = [name for name in self.disk.shares() if name.startswith(prefix) and name > after]
        shown = wanted[: self._most(asked)]
        rows = "".join(self._share(name, "metadata" in asked.query.get("include", "")) for name in shown)
        more = _mark(shown[-1]) if len(wanted) > len(shown) else ""
        return _listing(asked, attributes(ServiceEndpoint=endpoint), f"<Shares>{rows}</Shares>", more, "")

    def _share(self, name: str, with_meta: bool) -> str:
        record = self.disk.record(self.disk.share(name))
        facts = element("Last-Modified", formatdate(record.modified, usegmt=True)) + element("Etag", record.etag)
        facts += element("Quota", str(record.quota)) + element("AccessTier", record.tier)
        said = "".join(element(key, value) for key, value in record.meta.items()) if with_meta else ""
        more = f"<Metadata>{said}</Metadata>" if with_meta else ""
        return f"<Share>{element('Name', name)}<Properties>{facts}</Properties>{more}</Share>"


def there(place: Path) -> Path:
    """A place that must be a directory."""
    if place.is_file():
        raise Refused(409, "ResourceTypeMismatch")
    if not place.is_dir():
        raise Refused(404, "ResourceNotFound")
    return place


def _listing(asked: Asked, said: str, rows: str, more: str, tail: str) -> Reply:
    given = "".join(
        element(tag, asked.query[name])
        for tag, name in (("Prefix", "prefix"), ("Marker", "marker"), ("MaxResults", "maxresults"))
        if name in asked.query
    )
    body = f"<EnumerationResults{said}>{given}{rows}{element('NextMarker', more)}{tail}</EnumerationResults>"
    return Reply(200, {"Content-Type": "application/xml"}, xml(body))


def _quota(asked: Asked, default: int) -> int:
    given = int(asked.headers.get("x-ms-share-quota", default))
    if not 1 <= given <= 102_400:
        raise Refused(400, "InvalidHeaderValue")
    return given


def _mark(name: str) -> str:
    """Opaque, as Azure's are: nobody should build one."""
    return "2!" + base64.urlsafe_b64encode(name.lower().encode()).decode()


def _unmark(marker: str) -> str:
    if not marker:
        return ""
    try:
        return base64.urlsafe_b64decode(marker.removeprefix("2!")).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Refused(400, "InvalidQueryParameterValue") from None
