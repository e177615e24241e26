"""Leases of files and shares."""

from __future__ import annotations

import uuid

from .disk import Record
from .wire import Asked, Refused, Reply


def guard(record: Record | None, asked: Asked, header: str = "x-ms-lease-id", kind: str = "File") -> None:
    """Raises Refused for a write that does not hold the lease."""
    given = asked.headers.get(header, "").lower()
    lease = record.lease if record else ""
    if lease and not given:
        raise Refused(412, "LeaseIdMissing")
    if given and not lease:
        raise Refused(412, f"LeaseNotPresentWith{kind}Operation")
    if given != lease:
        raise Refused(412, f"LeaseIdMismatchWith{kind}Operation")


def lease(record: Record, asked: Asked) -> Reply:
    """Acquire, change, renew, release or break."""
    action = asked.headers.get("x-ms-lease-action", "")
    if action == "acquire":
        return _acquire(record, asked)
    if action == "break":
        return _break(record)
    if not record.lease:
        raise Refused(409, "LeaseNotPresentWithLeaseOperation")
    if asked.headers.get("x-ms-lease-id", "").lower() != record.lease:
        raise Refused(409, "LeaseIdMismatchWithLeaseOperation")
    if action == "release":
        record.lease = ""
        return Reply(200)
    if action not in ("change", "renew"):
        raise Refused(400, "InvalidHeaderValue")
    if action == "change":
        record.lease = asked.headers["x-ms-proposed-lease-id"].lower()
    return Reply(200, {"x-ms-lease-id": record.lease})


def headers(record: Record) -> dict[str, str]:
    """The state of a lease, as properties say it."""
    if record.lease:
        fixed = "fixed" if record.lease_fixed else "infinite"
        return {"x-ms-lease-status": "locked", "x-ms-lease-state": "leased", "x-ms-lease-duration": fixed}
    return {"x-ms-lease-status": "unlocked", "x-ms-lease-state": "broken" if record.lease_broken else "available"}


def _acquire(record: Record, asked: Asked) -> Reply:
    wanted = asked.headers.get("x-ms-proposed-lease-id", "").lower() or str(uuid.uuid4())
    duration = int(asked.headers.get("x-ms-lease-duration", "-1"))
    if duration != -1 and (asked.path or not 15 <= duration <= 60):  # a file's lease never ends by itself
        raise Refused(400, "InvalidHeaderValue")
    if record.lease and record.lease != wanted:
        raise Refused(409, "LeaseAlreadyPresent")
    record.lease, record.lease_broken, record.lease_fixed = wanted, False, duration != -1
    return Reply(201, {"x-ms-lease-id": wanted})


def _break(record: Record) -> Reply:
    if not record.lease and not record.lease_broken:
        raise Refused(409, "LeaseNotPresentWithLeaseOperation")
    record.lease, record.lease_broken = "", True
    return Reply(202, {"x-ms-lease-time": "0"})
