"""What a request says and what is answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape, quoteattr

MIB = 2**20
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SECRETS = frozenset({"sig"})


class Refused(Exception):
    """Answered with an error.

    Attributes:
        status: HTTP status.
        code: What Azure says in `x-ms-error-code`.
        detail: `AuthenticationErrorDetail`, where there is one.
    """

    def __init__(self, status: int, code: str, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.code, self.detail, self.headers = status, code, detail, dict(headers or {})

    def reply(self) -> Reply:
        """The answer as Azure words it."""
        more = f"<AuthenticationErrorDetail>{escape(self.detail)}</AuthenticationErrorDetail>" if self.detail else ""
        body = f"<Error><Code>{self.code}</Code><Message>{self.code}, says the stand-in.</Message>{more}</Error>"
        return Reply(self.status, {"x-ms-error-code": self.code, **self.headers}, xml(body))


@dataclass(frozen=True)
class Slice:
    """Bytes of an open file, to be streamed; the sender closes it."""

    file: BinaryIO
    start: int
    length: int


@dataclass
class Reply:
    """One answer; the body is held, or read from disk while it is sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Slice = b""

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, Slice) else len(self.body)

    def close(self) -> None:
        """For an answer that is never sent."""
        if isinstance(self.body, Slice):
            self.body.file.close()


@dataclass(frozen=True)
class Target:
    """What an URL names: `/account/share/path?query`."""

    account: str
    share: str
    path: str
    query: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, account: str) -> Target:
        """Raises Refused when the URL is of another account."""
        parts = urlsplit(url)
        inside = parts.path.removeprefix("/" + account)
        if inside == parts.path or (inside and not inside.startswith("/")):
            raise Refused(400, "InvalidUri")
        share, _, path = inside.removeprefix("/").partition("/")
        return cls(account, unquote(share), unquote(path).strip("/"), query_of(parts.query))


@dataclass(frozen=True)
class Asked:
    """One request; header names are lower-case.

    Attributes:
        auth: `SharedKey`, `SAS`, `Bearer`, or empty before it was looked at.
        raw: The path and query as they came.
    """

    method: str
    raw: str
    target: Target
    headers: Mapping[str, str]
    length: int
    body: bytes = b""
    auth: str = ""

    @property
    def share(self) -> str:
        return self.target.share

    @property
    def path(self) -> str:
        return self.target.path

    @property
    def query(self) -> Mapping[str, str]:
        return self.target.query

    @property
    def operation(self) -> str:
        """A short name for the log and for faults, such as `PUT range`, `GET directory list`, `GET`."""
        given = (self.method, self.query.get("restype", ""), self.query.get("comp", ""))
        return " ".join(part for part in given if part)

    def flag(self, header: str) -> bool:
        return self.headers.get(header, "").lower() == "true"

    def span(self, header: str = "x-ms-range") -> tuple[int, int | None] | None:
        """First and last byte asked for; the last one is None for an open end."""
        given = self.headers.get(header) or (self.headers.get("range") if header == "x-ms-range" else None)
        if not given:
            return None
        match = _RANGE.fullmatch(given)
        if not match:
            raise Refused(400, "InvalidHeaderValue")
        return int(match[1]), int(match[2]) if match[2] else None


@dataclass(frozen=True)
class Logged:
    """One line of the server's log; no secret is in it.

    Attributes:
        received, sent: Bytes of the two bodies.
        code: `x-ms-error-code`, or the fault that cut the connection.
    """

    method: str
    path: str
    query: Mapping[str, str]
    operation: str
    span: str
    auth: str
    received: int
    status: int
    code: str
    sent: int


def query_of(text: str) -> dict[str, str]:
    """Names (lower-case) and values; a plus stays a plus, as Azure reads it."""
    pairs = (part.partition("=") for part in text.split("&") if part)
    return {unquote(name).lower(): unquote(value) for name, _, value in pairs}


def public(query: Mapping[str, str]) -> dict[str, str]:
    """A query without its secrets."""
    return {name: value for name, value in query.items() if name not in SECRETS}


def xml(body: str) -> bytes:
    return f'\ufeff<?xml version="1.0" encoding="utf-8"?>{body}'.encode()


def element(tag: str, text: str) -> str:
    """`<tag>text</tag>`, percent-encoded where XML cannot hold the text."""
    if _NOT_IN_XML.search(text):
        return f'<{tag} Encoded="true">{quote(text)}</{tag}>'
    return f"<{tag}>{escape(text)}</{tag}>"


def attributes(**values: str) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items())
