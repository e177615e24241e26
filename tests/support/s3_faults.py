"""A proxy before an S3 server that can fail: what the store must survive, seen by real clients over real sockets.

    with FaultyS3(server().endpoint) as proxy:
        proxy.faults.append(Fault(slow_down(retry_after=1), method="PUT", query="partNumber=2"))
        ... a client with endpoint proxy.endpoint ...
        assert proxy.count(method="PUT", query="partNumber=2") == 2

Path style and plain http on both sides. Everything is passed on as it came, the Host header too, so signatures stay
valid (SeaweedFS and MinIO check them against the Host they are told). `Expect: 100-continue` is answered here. Clients
must not be asked to sign for another host.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.s3_fault_actions import Action, Answer, Cut, Exchange, Headers

PIECE = 64 * 1024
_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass(slots=True)
class Fault:
    """One thing to go wrong, and with which requests.

    Attributes:
        do: what happens (see `s3_fault_actions`).
        method: "" is every method.
        key: part of the decoded path (`/BUCKET/KEY`).
        query: part of the query as it was sent, such as `partNumber=2`, `uploads`, `list-type=2`.
        nth: the first matching request that is hit, counted from 1.
        times: how many are hit from there on; None is all.
        hits: how many were hit so far.
    """

    do: Action
    method: str = ""
    key: str = ""
    query: str = ""
    nth: int = 1
    times: int | None = 1
    hits: int = 0
    _seen: int = 0

    def takes(self, exchange: Exchange) -> bool:
        if not exchange.matches(self.method, self.key, self.query):
            return False
        self._seen += 1
        hit = self._seen >= self.nth and (self.times is None or self._seen < self.nth + self.times)
        self.hits += hit
        return hit


@dataclass
class FaultyS3:
    """The proxy, running between `with` and its end.

    Attributes:
        upstream: the real server's endpoint, `http://HOST:PORT`.
        faults: may be changed at any time; every one that matches a request applies to it.
        log: every request in the order of their beginnings, each up to date before the client sees what is told.
        most_at_once: the highest number of requests under way at one time.
    """

    upstream: str
    faults: list[Fault] = field(default_factory=list)
    log: list[Exchange] = field(default_factory=list)
    most_at_once: int = 0

    def __enter__(self) -> FaultyS3:
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.problems: list[BaseException] = []
        self._under_way = 0
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()  # waits for the connections' threads
        if self.problems and kind is None:
            raise self.problems[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def requests(self, method: str = "", key: str = "", query: str = "") -> list[Exchange]:
        """What was asked so far."""
        with self.lock:
            return [exchange for exchange in self.log if exchange.matches(method, key, query)]

    def count(self, method: str = "", key: str = "", query: str = "") -> int:
        return len(self.requests(method, key, query))

    def is_idle(self) -> bool:
        """Whether no request is under way: those of a client that was killed go on for a moment."""
        with self.lock:
            return not self._under_way

    def begin(self, exchange: Exchange) -> list[Action]:
        with self.lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
            self.log.append(exchange)
            return [fault.do for fault in self.faults if fault.takes(exchange)]

    def end(self) -> None:
        with self.lock:
            self._under_way -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that server_close joins them
    request_queue_size = 128

    def __init__(self, proxy: FaultyS3) -> None:
        self.proxy = proxy
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def hang_up(self) -> None:
        with self.proxy.lock:
            for connection in self.open:
                _shut(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if (error := sys.exception()) and not isinstance(error, OSError):
            self.proxy.problems.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    upstream: HTTPConnection | None = None

    def setup(self) -> None:
        super().setup()
        with self.server.proxy.lock:
            self.server.open.add(self.connection)

    def finish(self) -> None:
        with self.server.proxy.lock:
            self.server.open.discard(self.connection)
        if self.upstream:
            self.upstream.close()
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        return True  # only once it is known that the body is wanted

    def serve(self) -> None:
        target = urlsplit(self.path)
        names = tuple(name.lower() for name in self.headers)
        exchange = Exchange(self.command, unquote(target.path), target.query, names)
        exchange.stopped = self.server.proxy.stopped
        actions = self.server.proxy.begin(exchange)
        try:
            self._exchange(exchange, actions)
        except Cut:
            self.close_connection = True
            _shut(self.connection)
            if self.upstream:
                self.upstream.close()
        except (HTTPException, OSError):  # one of the two ends went away
            self.close_connection = True
        finally:
            self.server.proxy.end()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def _exchange(self, exchange: Exchange, actions: list[Action]) -> None:
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in _HOP]
        for action in actions:
            if answer := action.answer(exchange):
                self._refuse(exchange, answer)
                return
            headers = action.request_headers(exchange, self.path, headers)
        response = self._forward(exchange, actions, headers)
        for action in actions:
            action.before_response(exchange)
        self._return(exchange, actions, response)

    def _refuse(self, exchange: Exchange, answer: Answer) -> None:
        if "expect" in exchange.headers:
            self.close_connection = True  # its body was never asked for
        else:
            for piece in self._body():
                exchange.sent += len(piece)
        content = b"" if self.command == "HEAD" else answer.content(exchange)
        exchange.status, exchange.received = answer.status, len(content)
        headers = [("Content-Type", "application/xml"), ("x-amz-request-id", "PROXY"), *answer.headers]
        self._head(answer.status, [*headers, ("Content-Length", str(len(content)))])
        self.wfile.write(content)

    def _forward(self, exchange: Exchange, actions: list[Action], headers: Headers) -> HTTPResponse:
        if self.upstream is None:
            self.upstream = HTTPConnection(urlsplit(self.server.proxy.upstream).netloc, timeout=300)
        chunked = "transfer-encoding" in exchange.headers
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in [*headers, *([("Transfer-Encoding", "chunked")] if chunked else [])]:
            self.upstream.putheader(name, value.encode("latin-1"))
        self.upstream.endheaders()
        if self.upstream.sock:
            self.upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if "expect" in exchange.headers:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        for piece in self._body():
            self._send(exchange, actions, piece, chunked)
        if chunked:
            self.upstream.send(b"0\r\n\r\n")
        return self.upstream.getresponse()

    def _send(self, exchange: Exchange, actions: list[Action], piece: bytes, chunked: bool) -> None:
        assert self.upstream
        for action in actions:
            try:
                piece = action.request_part(exchange.sent, piece)
            except Cut as cut:
                exchange.sent += len(cut.before)
                self.upstream.send(cut.before)
                raise
        exchange.sent += len(piece)
        self.upstream.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

    def _return(self, exchange: Exchange, actions: list[Action], response: HTTPResponse) -> None:
        exchange.status = response.status
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP]
        for action in actions:
            headers = action.response_headers(headers)
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        chunked = response.length is None and not bodiless
        self._head(response.status, [*headers, *([("Transfer-Encoding", "chunked")] if chunked else [])])
        while not bodiless and (piece := response.read1(PIECE)):
            self._write(exchange, actions, piece, chunked)
        response.read()  # its end, so that the connection can be used again
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, exchange: Exchange, actions: list[Action], piece: bytes, chunked: bool) -> None:
        for action in actions:
            try:
                piece = action.response_part(exchange, exchange.received, piece)
            except Cut as cut:
                exchange.received += len(cut.before)
                self.wfile.write(cut.before)
                raise
        exchange.received += len(piece)
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)

    def _head(self, status: int, headers: Headers) -> None:
        self.send_response_only(status)
        for name, value in [*headers, *([("Connection", "close")] if self.close_connection else [])]:
            self.send_header(name, value)
        self.end_headers()

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            if not (piece := self.rfile.read1(min(PIECE, left))):
                raise ConnectionError("the client went away")  # the server must not be left waiting for the rest
            left -= len(piece)
            yield piece


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end was quicker
        connection.shutdown(socket.SHUT_RDWR)
