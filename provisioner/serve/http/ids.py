"""One request while it is answered: its id, and what is noted about it for the log, metrics and traces."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.serve import logs
from provisioner.serve.http.routes import Paths

_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})


@dataclass(slots=True)
class Asked:
    """Notes about one request. Numbers and fixed words, never a text of it.

    Attributes:
        path: below where the application is mounted; the client's words, so not for a log.
        method, route: among a fixed number of words; anything else is `other`.
        began: of `time.perf_counter`.
        status: that was sent, or 0.
        started, complete: whether the answer's head, and all of it, were sent.
        gone: whether the client went away before that.
        received, sent: bytes of the bodies.
        waiting, computing: seconds, see Spent; of a stream the sums, and its parts may be at work together.
        refused: the kind of the refusal, or "".
        close: whether the connection ends with the answer.
        unread: whether something of the body may still come.
        repeated: headers that are there more than once; `headers` has the last of them.
        trace: the id of its trace, or "".
        client: the address that the connection is from, as of a proxy; or "".
    """

    id: str
    method: str
    path: str
    route: str
    headers: dict[bytes, bytes]
    began: float = field(default_factory=time.perf_counter)
    status: int = 0
    started: bool = False
    complete: bool = False
    gone: bool = False
    received: int = 0
    sent: int = 0
    texts: int = 0
    tokens: int = 0
    waiting: float = 0.0
    computing: float = 0.0
    refused: str = ""
    close: bool = False
    unread: bool = False
    repeated: frozenset[bytes] = frozenset()
    trace: str = ""
    client: str = ""


_current: ContextVar[Asked | None] = ContextVar("asked", default=None)


def current() -> Asked | None:
    """The request that this task, or thread with its context, works for."""
    return _current.get()


def request_id() -> str:
    """Its id, or ""."""
    asked = _current.get()
    return asked.id if asked else ""


def of(scope: Scope) -> Asked:
    """The notes about the request of a scope."""
    asked: Asked = scope["provisioner.asked"]
    return asked


def given_or_new(given: bytes) -> str:
    """The id that a client gave its request, if it can be one; else a new one."""
    return given.decode() if _ACCEPTED.fullmatch(given) else os.urandom(16).hex()


@contextmanager
def answering(asked: Asked) -> Iterator[None]:
    """Inside, `current` is this request, and every line of the log has its id."""
    token, line = _current.set(asked), logs.request_id.set(asked.id)
    try:
        yield
    finally:
        _current.reset(token)
        logs.request_id.reset(line)


class Ids:
    """Outermost: gives every request its id, sends it back, and notes what is sent."""

    def __init__(self, app: ASGIApp, paths: Paths) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        asked = self._ask(scope)
        head = (b"x-request-id", asked.id.encode())

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                asked.started, asked.status = True, message["status"]
                # A body that nobody reads would be taken in without end.
                ends = [(b"connection", b"close")] if asked.close or asked.unread else []
                message = {**message, "headers": [*message.get("headers", ()), head, *ends]}
            elif message["type"] == "http.response.body":
                asked.sent += len(message.get("body", b""))
                asked.complete = not message.get("more_body", False)
            await send(message)

        async def reading() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                asked.unread = False
            return message

        with answering(asked):
            await self._app(scope, reading, noting)
        return None

    def _ask(self, scope: Scope) -> Asked:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        name = given_or_new(headers.get(b"x-request-id", b""))
        path = _path(scope)
        asked = Asked(name, _method(scope), path, self._paths.template(path), headers)
        asked.client = address((scope.get("client") or ("",))[0])
        asked.unread = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        if len(headers) < len(scope["headers"]):
            counts = Counter(key for key, _ in scope["headers"])
            asked.repeated = frozenset(key for key, count in counts.items() if count > 1)
        scope["provisioner.asked"] = asked
        return asked


def address(host: str) -> str:
    """Of a socket that takes IPv4 and IPv6, as the client's own kind; "" for what is none.

    A server around `provisioner.serve.app` may take it from a header, where anybody writes what they like.
    """
    try:
        found = ip_address(host)
    except ValueError:
        return ""
    return str(getattr(found, "ipv4_mapped", None) or found)


def _method(scope: Scope) -> str:
    """A label: the HTTP parser takes some thirty methods, another ASGI server may take any."""
    method = str(scope["method"])
    return method if method in _METHODS else "other"


def _path(scope: Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
