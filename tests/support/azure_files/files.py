"""Files: create, ranges, download, properties, metadata, rename, delete."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import replace
from pathlib import Path

from . import copies, leases
from .disk import Disk, Record, add_span, clear, cut_span
from .facts import CONTENT, META, dots, meta, smb, take_smb, version
from .wire import MIB, Asked, Refused, Reply, Slice, Target, element, xml

LARGEST_RANGE = 4 * MIB
_LARGEST_FILE = 4 * 2**40
_MOST_RANGES = 10_000
_SUMMED_UP = 2**40  # no test fills a larger share, and summing up costs a walk for each range


class Files:
    """Operations on files; the caller holds the server's lock.

    Attributes:
        largest: Bytes a share can hold, by name; the quota where there is none.
        polls: How often the state of a copy is `pending` before it is carried out.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.largest: dict[str, int] = {}
        self.polls = 0

    def place(self, asked: Asked) -> Path:
        return self.disk.place(asked.share, asked.path, dots(asked))

    def existing(self, asked: Asked) -> Path:
        return there(self.place(asked))

    def create(self, asked: Asked) -> Reply:
        place = self.place(asked)
        size = int(asked.headers.get("x-ms-content-length", "-1"))
        if asked.headers.get("x-ms-type", "").lower() != "file" or not 0 <= size <= _LARGEST_FILE:
            raise Refused(400, "InvalidHeaderValue")
        given = meta(asked)
        record = self.writable(place, asked)
        lease = record.lease if record else ""
        with open(place, "wb") as file:
            os.ftruncate(file.fileno(), size)
        record = self.disk.renew(place)
        record.meta, record.ranges, record.lease = given, [], lease
        record.content = {name: asked.headers[name] for name in CONTENT if asked.headers.get(name)}
        take_smb(record, asked)
        if asked.body:
            self._write(place, record, asked, 0, len(asked.body))
        return Reply(201, {**version(record), **smb(record, False), "x-ms-request-server-encrypted": "true"})

    def writable(self, place: Path, asked: Asked) -> Record | None:
        """The record of what would be overwritten, if there is something and it may be."""
        if place.is_dir():
            raise Refused(409, "ResourceTypeMismatch")
        record = self.disk.record(place) if place.exists() else None
        leases.guard(record, asked)
        if record and record.copying and record.copying.status == "pending":
            raise Refused(409, "PendingCopyOperation")
        return record

    def put_range(self, asked: Asked) -> Reply:
        place, span = self.existing(asked), asked.span()
        self.writable(place, asked)
        if span is None or span[1] is None:
            raise Refused(400, "InvalidHeaderValue")
        start, end, size = span[0], span[1] + 1, place.stat().st_size
        if end > size or start >= end:
            raise Refused(416, "InvalidRange")
        if asked.headers.get("x-ms-write", "").lower() == "clear":
            record = self.disk.touch(place)
            clear(place, start, end)
            if record.ranges is not None:
                whole = -(-start // 512) * 512, end if end == size else end // 512 * 512
                record.ranges = cut_span(record.ranges, *whole) if whole[0] < whole[1] else record.ranges
            return Reply(201, version(record))
        if "x-ms-copy-source" in asked.headers:
            asked = replace(asked, body=self._from_url(asked, end - start))
        if end - start > LARGEST_RANGE:
            raise Refused(413, "RequestBodyTooLarge")
        if len(asked.body) != end - start:
            raise Refused(400, "InvalidHeaderValue")
        return self._write(place, self.disk.record(place), asked, start, end)

    def _write(self, place: Path, record: Record, asked: Asked, start: int, end: int) -> Reply:
        digest = base64.b64encode(hashlib.md5(asked.body, usedforsecurity=False).digest()).decode()
        if asked.headers.get("content-md5", digest) != digest:
            raise Refused(400, "Md5Mismatch")
        spans = add_span(record.ranges or [], start, end)
        more = sum(high - low for low, high in spans) - sum(high - low for low, high in record.ranges or [])
        self.afford(asked.share, 0 if record.ranges is None else more)
        with open(place, "r+b") as file:
            os.pwrite(file.fileno(), asked.body, start)
        record.ranges = None if record.ranges is None else spans
        headers = {**version(self.disk.touch(place)), "x-ms-request-server-encrypted": "true"}
        return Reply(201, {**headers, "Content-MD5": digest})

    def _from_url(self, asked: Asked, length: int) -> bytes:
        origin, span = copies.source(self.disk, asked), asked.span("x-ms-source-range")
        if span is None or span[1] is None or span[1] + 1 - span[0] != length:
            raise Refused(400, "InvalidHeaderValue")
        with open(origin, "rb") as file:
            data = os.pread(file.fileno(), length, span[0])
        if len(data) != length:
            raise Refused(416, "InvalidRange")
        return data

    def afford(self, share: str, more: int) -> None:
        """Raises Refused when so many bytes more do not fit; sums up the share only where that can happen."""
        largest = self.largest.get(share)
        if largest is None:
            largest = self.disk.record(self.disk.share(share)).quota * 2**30
        if largest <= _SUMMED_UP and more > 0 and self.disk.used(share) + more > largest:
            raise Refused(413, "ShareSizeLimitReached")

    def ranges(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        record, size = self.disk.record(place), place.stat().st_size
        spans = ([(0, size)] if size else []) if record.ranges is None else record.ranges
        first, last = asked.span() or (0, None)
        end = size if last is None else min(size, last + 1)
        seen = [(max(low, first), min(high, end)) for low, high in spans if low < end and high > first]
        after, most = int(asked.query.get("marker", "0")), int(asked.query.get("maxresults", str(_MOST_RANGES)))
        left = [(low, high) for low, high in seen if low >= after]
        rows = "".join(
            f"<Range>{element('Start', str(low))}{element('End', str(high - 1))}</Range>" for low, high in left[:most]
        )
        rows += element("NextMarker", str(left[most][0])) if len(left) > most else ""
        headers = {**version(record), "x-ms-content-length": str(size), "Content-Type": "application/xml"}
        return Reply(200, headers, xml(f"<Ranges>{rows}</Ranges>"))

    def properties(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        return Reply(200, {**self._headers(place), "Content-Length": str(place.stat().st_size)})

    def download(self, asked: Asked) -> Reply:
        place, span = self.existing(asked), asked.span()
        size, headers = place.stat().st_size, self._headers(place)
        wants_md5 = asked.flag("x-ms-range-get-content-md5")
        if span is None:
            if wants_md5:
                raise Refused(400, "InvalidHeaderValue")
            return Reply(200, headers, Slice(open(place, "rb"), 0, size))
        if span[0] >= size:
            raise Refused(416, "InvalidRange", headers={"Content-Range": f"bytes */{size}"})
        end = size if span[1] is None else min(size, span[1] + 1)
        length = end - span[0]
        if "Content-MD5" in headers:
            headers["x-ms-content-md5"] = headers.pop("Content-MD5")
        if wants_md5:
            headers["Content-MD5"] = _md5(place, span[0], length)
        headers["Content-Range"] = f"bytes {span[0]}-{end - 1}/{size}"
        return Reply(206, headers, Slice(open(place, "rb"), span[0], length))

    def _headers(self, place: Path) -> dict[str, str]:
        record = self.disk.record(place)
        copies.poll(self.disk, place, record)
        content = {shown: record.content[name] for name, shown in CONTENT.items() if name in record.content}
        return {
            "Content-Type": "application/octet-stream",
            **content,
            **version(record),
            **{META + name: value for name, value in record.meta.items()},
            **smb(record, False),
            **leases.headers(record),
            **copies.headers(record),
            "x-ms-type": "File",
            "x-ms-server-encrypted": "true",
            "Accept-Ranges": "bytes",
        }

    def set_meta(self, asked: Asked) -> Reply:
        place, given = self.existing(asked), meta(asked)
        self.writable(place, asked)
        self.disk.record(place).meta = given
        return Reply(200, version(self.disk.touch(place)))

    def set_properties(self, asked: Asked) -> Reply:
        """Size, content headers (all of them: what is not given is cleared), attributes, times."""
        place = self.existing(asked)
        self.writable(place, asked)
        record = self.disk.record(place)
        if "x-ms-content-length" in asked.headers:
            size = int(asked.headers["x-ms-content-length"])
            os.truncate(place, size)
            if record.ranges is not None:
                record.ranges = cut_span(record.ranges, size, 2**63)
        given = {name: asked.headers[name] for name in CONTENT if asked.headers.get(name)}
        if given or "x-ms-content-length" not in asked.headers:
            record.content = given
        take_smb(record, asked)
        return Reply(200, {**version(self.disk.touch(place)), **smb(record, False)})

    def lease(self, asked: Asked) -> Reply:
        record = self.disk.record(self.existing(asked))
        reply = leases.lease(record, asked)
        reply.headers.update(version(record))
        return reply

    def copy(self, asked: Asked) -> Reply:
        target, given = self.place(asked), meta(asked)
        origin = copies.source(self.disk, asked)
        record = self.writable(target, asked)
        self.afford(asked.share, self.disk.written(origin))
        return copies.start(self.disk, origin, target, asked, given, record.lease if record else "", self.polls)

    def abort_copy(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        record = self.disk.record(place)
        leases.guard(record, asked)
        copies.abort(place, record, asked)
        return Reply(204)

    def rename(self, asked: Asked) -> Reply:
        target = self.place(asked)
        origin = there(renamed_from(self.disk, asked))
        leases.guard(self.disk.record(origin), asked, "x-ms-source-lease-id")
        if target.exists() and target != origin and not _same(origin, target):
            if target.is_dir() or not asked.flag("x-ms-file-rename-replace-if-exists"):
                raise Refused(409, "ResourceAlreadyExists")
            leases.guard(self.disk.record(target), asked, "x-ms-destination-lease-id")
        target = spelled(target, asked)
        self.disk.move(origin, target)
        record = self.disk.touch(target)
        record.meta = meta(asked) or record.meta
        if asked.headers.get("x-ms-content-type"):
            record.content["x-ms-content-type"] = asked.headers["x-ms-content-type"]
        take_smb(record, asked)
        return Reply(200, {**version(record), **smb(record, False)})

    def delete(self, asked: Asked) -> Reply:
        place = self.existing(asked)
        self.writable(place, asked)
        place.unlink()
        self.disk.forget(place)
        return Reply(202)


def there(place: Path) -> Path:
    """A place that must be a file."""
    if place.is_dir():
        raise Refused(409, "ResourceTypeMismatch")
    if not place.is_file():
        raise Refused(404, "ResourceNotFound")
    return place


def renamed_from(disk: Disk, asked: Asked) -> Path:
    """The place that `x-ms-file-rename-source` names."""
    source = Target.parse(asked.headers.get("x-ms-file-rename-source", ""), asked.target.account)
    if source.share != asked.share or not source.path:
        raise Refused(400, "InvalidUri")
    return disk.place(source.share, source.path, dots(asked, "x-ms-source-allow-trailing-dot"))


def spelled(target: Path, asked: Asked) -> Path:
    """The target in the letters it was asked for, so that a rename can change only the case of a name."""
    name = asked.path.rpartition("/")[2]
    return target.with_name(name if dots(asked) else name.rstrip("."))


def _same(one: Path, other: Path) -> bool:
    return str(one).lower() == str(other).lower()


def _md5(place: Path, start: int, length: int) -> str:
    if length > LARGEST_RANGE:
        raise Refused(400, "OutOfRangeInput")
    with open(place, "rb") as file:
        data = os.pread(file.fileno(), length, start)
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
