"""Refusals in the words of gRPC."""

from __future__ import annotations

from grpc import StatusCode

from provisioner.serve.refusals import (
    Broken,
    Busy,
    Failed,
    NotReady,
    NotServed,
    Refused,
    TimedOut,
    TooLarge,
    Unauthorized,
    WrongRole,
)


class Dropped(TooLarge):
    """A message over its limit: gRPC has dropped it, and told the client."""


_CODES: tuple[tuple[type[Refused], StatusCode], ...] = (
    (Unauthorized, StatusCode.UNAUTHENTICATED),
    (NotServed, StatusCode.NOT_FOUND),
    (WrongRole, StatusCode.FAILED_PRECONDITION),
    (Dropped, StatusCode.RESOURCE_EXHAUSTED),
    (Busy, StatusCode.RESOURCE_EXHAUSTED),
    (NotReady, StatusCode.UNAVAILABLE),
    (TimedOut, StatusCode.DEADLINE_EXCEEDED),
    (Failed, StatusCode.INTERNAL),
    (Broken, StatusCode.INTERNAL),
    (Refused, StatusCode.INVALID_ARGUMENT),
)


def code(refused: Refused) -> StatusCode:
    """The status of a refusal."""
    return next(status for kind, status in _CODES if isinstance(refused, kind))


def metadata(refused: Refused, request_id: str) -> tuple[tuple[str, str], ...]:
    """What trails the status: seconds for people and proxies, and milliseconds as clients with a retry policy read them
    (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)."""
    known = (("x-request-id", request_id), ("kind", refused.kind))
    if refused.retry_after is None:
        return known
    after = refused.retry_after
    return (*known, ("retry-after", str(after)), ("grpc-retry-pushback-ms", str(after * 1000)))
