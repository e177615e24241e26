"""A Hub over sockets that can break in the middle of an answer, trickle, and count what it sent."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.support.hub_fixture import Made
from tests.support.patience import PATIENCE

_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<commit>[^/]+)/(?P<path>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
BLOCK = 64 * 1024
LAG = 0.1  # seconds that a rate makes up for; what a machine that stood still missed would come all at once


@dataclass
class Request:
    """One GET of a file.

    Attributes:
        path: inside the repository; or the whole path of a URL that is no file of the Hub.
        start, stop: the range that was asked for, or the whole file.
        sent: bytes of the body that were written so far.
    """

    path: str
    headers: dict[str, str]
    data: bytes | None
    start: int
    stop: int
    ranged: bool
    handler: BaseHTTPRequestHandler = field(repr=False)
    sent: int = 0
    rate: float | None = None

    def answer(self, status: int, body: bytes | memoryview = b"", *, length: int | None = None, **headers: str) -> None:
        """Send a whole answer; `length` may lie about the body. `content_range=` is the header Content-Range."""
        handler = self.handler
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        self._write(memoryview(body))
        if length is not None and length != len(body):
            handler.close_connection = True

    def _write(self, body: memoryview) -> None:
        due = time.monotonic()
        for offset in range(0, len(body), BLOCK):
            piece = body[offset : offset + BLOCK]
            self.handler.wfile.write(piece)
            self.sent += len(piece)
            if self.rate:
                due = max(due, time.monotonic() - LAG) + len(piece) / self.rate
                time.sleep(max(due - time.monotonic(), 0))

    def honest(self) -> None:
        """What a good Hub sends."""
        if self.data is None:
            return self.answer(404, x_error_code="EntryNotFound")
        part = memoryview(self.data)[self.start : self.stop]
        if self.ranged:
            return self.answer(206, part, content_range=f"bytes {self.start}-{self.stop - 1}/{len(self.data)}")
        return self.answer(200, part)

    def held(self, after: int, go: threading.Event) -> None:
        """What a good Hub sends; but from this byte of the file on one after the other, until it is told to go on.

        So that a reader is never stuck in a read: one that is told to stop notices it.
        """
        assert self.data is not None
        part = memoryview(self.data)[self.start : self.stop]
        extent = {"content_range": f"bytes {self.start}-{self.stop - 1}/{len(self.data)}"} if self.ranged else {}
        free = max(after - self.start, 0)
        self.answer(206 if self.ranged else 200, part[:free], length=len(part), **extent)
        self.handler.close_connection = False
        while self.sent < len(part) and not go.wait(0.05):
            self._write(part[self.sent : self.sent + 1])
        self._write(part[self.sent :])

    def cut(self, after: int) -> None:
        """Promise everything, send some of it and close the connection."""
        assert self.data is not None
        extent = {"content_range": f"bytes {self.start}-{self.stop - 1}/{len(self.data)}"} if self.ranged else {}
        part = self.data[self.start : self.stop]
        self.answer(206 if self.ranged else 200, part[:after], length=len(part), **extent)

    def reset(self, after: int) -> None:
        """As `cut`, but with a TCP reset."""
        self.cut(after)
        self.handler.wfile.flush()
        time.sleep(0.05)  # let the bytes arrive first: a reset throws away what was not read
        connection = self.handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def trickle(self, pause: float = 0.05) -> None:
        """One byte after the other; who has not noticed it after so long never will, and the connection ends."""
        assert self.data is not None
        self.handler.send_response(200)
        self.handler.send_header("Content-Length", str(len(self.data)))
        self.handler.end_headers()
        end = time.monotonic() + PATIENCE
        while self.sent < len(self.data) and time.monotonic() < end:
            self.handler.wfile.write(self.data[self.sent : self.sent + 1])
            self.sent += 1
            time.sleep(pause)
        self.handler.close_connection = True


Fault = Callable[[Request], Any]


class FaultyHub:
    """Serves the files of some models; `fault` answers instead where it was asked to.

    Attributes:
        requests: everything that came in, in order, with what was sent.
        rate: bytes a second on each connection, or None.
    """

    def __init__(self, *made: Made, rate: float | None = None) -> None:
        self.content = {
            (str(one.model.repo), str(one.model.commit), path): data
            for one in made
            for path, data in one.content.items()
        }
        self.requests: list[Request] = []
        self.rate = rate
        self._faults: list[tuple[str, Fault, list[int]]] = []
        self._held: list[threading.Event] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault(self, path: str, fault: Fault, times: int = 10**9) -> None:
        """Let `fault` answer the next requests for a path (a regular expression)."""
        self._faults.append((path, fault, [times]))

    def hold(self, path: str, after: int, times: int = 10**9) -> threading.Event:
        """Let the next requests for a file get no more than its first bytes until the event is set."""
        go = threading.Event()
        self._held.append(go)
        self.fault(re.escape(path), lambda request: request.held(after, go), times)
        return go

    def sent(self, path: str = "", since: int = 0) -> int:
        """Bytes of bodies sent so far, of one file or of all; `since` leaves so many of the first requests out.

        A client that was killed may be sent to for a moment: compare requests, not bytes of before and after.
        """
        return sum(request.sent for request in self.requests[since:] if path in ("", request.path))

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def respond(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)
            chosen = next((f for p, f, left in self._faults if left[0] > 0 and _used(left, p, request.path)), None)
        (chosen or Request.honest)(request)

    def request(self, handler: BaseHTTPRequestHandler) -> Request:
        path = unquote(urlsplit(handler.path).path)
        match = _FILE.fullmatch(path)
        data = self.content.get((match["repo"], match["commit"], match["path"])) if match else None
        asked = _RANGE.fullmatch(handler.headers.get("Range", ""))
        start, stop = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(data or b""))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        name = match["path"] if match else path
        return Request(name, headers, data, start, stop, asked is not None, handler, rate=self.rate)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for go in self._held:
            go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _used(left: list[int], pattern: str, path: str) -> bool:
    if not re.fullmatch(pattern, path):
        return False
    left[0] -= 1
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of ours."""


def _handler(hub: FaultyHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.respond(hub.request(self))

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
