"""What can go wrong with one request (see `s3_faults.py`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from tests.support.patience import PATIENCE
from tests.support.seaweed import server

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Exchange:
    """One request and what became of it.

    Attributes:
        path: decoded, `/BUCKET/KEY`.
        headers: the names of the request's headers, lower case.
        sent, received: bytes of the two bodies that went through.
        status: 0 when the client got no answer.
    """

    method: str
    path: str
    query: str
    headers: tuple[str, ...]
    sent: int = 0
    received: int = 0
    status: int = 0
    stopped: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def matches(self, method: str, key: str, query: str) -> bool:
        return method in ("", self.method) and key in self.path and query in self.query


class Cut(Exception):
    """End the connection now, after these last bytes."""

    def __init__(self, before: bytes = b"") -> None:
        self.before = before


class Action:
    """Nothing goes wrong. Others replace one or two of these steps."""

    def answer(self, exchange: Exchange) -> Answer | None:
        """An answer in place of the server's, which then sees nothing of the request."""
        return None

    def request_headers(self, exchange: Exchange, target: str, headers: Headers) -> Headers:
        return headers

    def request_part(self, at: int, part: bytes) -> bytes:
        return part

    def before_response(self, exchange: Exchange) -> None:
        return None

    def response_headers(self, headers: Headers) -> Headers:
        return headers

    def response_part(self, exchange: Exchange, at: int, part: bytes) -> bytes:
        return part


@dataclass(frozen=True, slots=True)
class Answer(Action):
    """An error document in place of the server's answer. A HEAD gets the status alone, as from every S3 server."""

    status: int
    code: str
    message: str = "as the test wants it"
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self, exchange: Exchange) -> Answer | None:
        return self

    def content(self, exchange: Exchange) -> bytes:
        inner = f"<Code>{self.code}</Code><Message>{escape(self.message)}</Message>"
        place = f"<Resource>{escape(exchange.path)}</Resource><RequestId>PROXY</RequestId>"
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}{place}</Error>'.encode()


def slow_down(retry_after: int | None = None) -> Answer:
    """What S3 and MinIO answer when there is too much to do."""
    after = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Answer(503, "SlowDown", "Please reduce your request rate.", after)


def internal_error() -> Answer:
    return Answer(500, "InternalError", "We encountered an internal error. Please try again.")


def error_in_200() -> Answer:
    """S3 answers CompleteMultipartUpload and CopyObject with 200 before it is done; then this is their document."""
    return Answer(200, "InternalError", "We encountered an internal error. Please try again.")


def expired_token() -> Answer:
    return Answer(400, "ExpiredToken", "The provided token has expired.")


def clock_skewed() -> Answer:
    return Answer(403, "RequestTimeTooSkewed", "The difference between the request time and the server's is too large.")


def access_denied() -> Answer:
    return Answer(403, "AccessDenied", "Access Denied.")


def storage_full() -> Answer:
    """MinIO below its minimum of free space."""
    return Answer(507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold.")


def quota_exceeded() -> Answer:
    """MinIO with a bucket quota."""
    return Answer(400, "XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded")


def read_only() -> Answer:
    """A server or gateway that takes no writes."""
    return Answer(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")


def not_implemented() -> Answer:
    """A store that refuses what it does not know, such as a condition."""
    return Answer(501, "NotImplemented", "A header you provided implies functionality that is not implemented.")


@dataclass(frozen=True, slots=True)
class CutRequest(Action):
    """The connection ends once this much of the request's body has gone on to the server."""

    after: int

    def request_part(self, at: int, part: bytes) -> bytes:
        if at + len(part) > self.after:
            raise Cut(part[: self.after - at])
        return part


@dataclass(frozen=True, slots=True)
class CutResponse(Action):
    """The connection ends after the headers and this much of the response's body (if it has more)."""

    after: int

    def response_part(self, exchange: Exchange, at: int, part: bytes) -> bytes:
        if at + len(part) > self.after:
            raise Cut(part[: self.after - at])
        return part


@dataclass(frozen=True, slots=True)
class LoseAnswer(Action):
    """The server did what it was asked, but the connection ends before its answer."""

    def before_response(self, exchange: Exchange) -> None:
        raise Cut


@dataclass(frozen=True, slots=True)
class Stall(Action):
    """Nothing for so long: before the answer's headers, or after this much of its body."""

    seconds: float
    after: int | None = None

    def before_response(self, exchange: Exchange) -> None:
        if self.after is None:
            exchange.stopped.wait(self.seconds)

    def response_part(self, exchange: Exchange, at: int, part: bytes) -> bytes:
        if self.after is not None and at <= self.after < at + len(part):
            exchange.stopped.wait(self.seconds)
        return part


@dataclass(frozen=True, slots=True)
class HoldUntil(Action):
    """Answers are kept back until something is so, or never will be: all of them together no longer than one."""

    so: Callable[[], object]
    end: float = field(default_factory=lambda: time.monotonic() + PATIENCE, init=False, compare=False)

    def before_response(self, exchange: Exchange) -> None:
        while not self.so() and time.monotonic() < self.end and not exchange.stopped.wait(0.01):
            pass


@dataclass(frozen=True, slots=True)
class Stop(Action):
    """The request waits, `reached` is set, and with `go` the connection ends: before or after the server did it."""

    carried_out: bool
    reached: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def answer(self, exchange: Exchange) -> Answer | None:
        if not self.carried_out:
            self._stop()
        return None

    def before_response(self, exchange: Exchange) -> None:
        self._stop()

    def _stop(self) -> None:
        self.reached.set()
        self.go.wait(PATIENCE)
        raise Cut


@dataclass(frozen=True, slots=True)
class FlipResponse(Action):
    """One bit of the answer's body differs."""

    at: int = 0

    def response_part(self, exchange: Exchange, at: int, part: bytes) -> bytes:
        here = self.at - at
        if not 0 <= here < len(part):
            return part
        return part[:here] + bytes([part[here] ^ 1]) + part[here + 1 :]


@dataclass(frozen=True, slots=True)
class FlipRequest(Action):
    """One bit of the request's body differs when it reaches the server."""

    at: int = 0

    def request_part(self, at: int, part: bytes) -> bytes:
        here = self.at - at
        if not 0 <= here < len(part):
            return part
        return part[:here] + bytes([part[here] ^ 1]) + part[here + 1 :]


@dataclass(frozen=True, slots=True)
class SetHeaders(Action):
    """Other headers in the answer: `SetHeaders({"ETag": '"lie"'})`."""

    values: Mapping[str, str]

    def response_headers(self, headers: Headers) -> Headers:
        replaced = {name.lower() for name in self.values}
        return [header for header in headers if header[0].lower() not in replaced] + list(self.values.items())


@dataclass(frozen=True, slots=True)
class DropHeaders(Action):
    """Headers missing from the answer. By default a store that keeps no checksums (the server still checks them)."""

    prefix: str = "x-amz-checksum-"

    def response_headers(self, headers: Headers) -> Headers:
        return [header for header in headers if not header[0].lower().startswith(self.prefix)]


@dataclass(frozen=True, slots=True)
class IgnoreConditions(Action):
    """A store that does not know If-None-Match and If-Match and does not say so.

    The client signed these headers, so they cannot just be left out: we sign the request anew, with the server's keys.
    """

    def request_headers(self, exchange: Exchange, target: str, headers: Headers) -> Headers:
        kept = [header for header in headers if header[0].lower() not in ("if-none-match", "if-match")]
        return kept if len(kept) == len(headers) else _signed(exchange.method, target, kept)


def _signed(method: str, target: str, headers: Headers) -> Headers:
    from minio.credentials.credentials import Credentials
    from minio.signer import sign_v4_s3

    ours, date = server(), datetime.now(UTC)
    given = {name.lower(): value for name, value in headers if name.lower() != "authorization"}
    given["x-amz-date"] = date.strftime("%Y%m%dT%H%M%SZ")
    signed = sign_v4_s3(
        method=method,
        url=urlsplit(f"http://{given['host']}{target}"),
        region=ours.region,
        headers=dict(given),
        credentials=Credentials(ours.access_key, ours.secret_key),
        content_sha256=given["x-amz-content-sha256"],
        date=date,
    )
    return [(name, str(value)) for name, value in signed.items()]
