"""Connections: what comes over the socket, the faults done to it, and the log."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol

from tests.support.patience import PATIENCE

from .disk import CHUNK
from .faults import Action, Answer, CutDownload, CutUpload, FlipBit, Hold, Late, Lie, LoseAnswer, Stall
from .wire import MIB, Asked, Logged, Refused, Reply, Slice, Target, public

_LARGEST_BODY = 8 * MIB


class Owner(Protocol):
    """What answers the requests."""

    account: str
    ca_file: Path | None
    log: list[Logged]
    lock: threading.RLock
    closing: threading.Event
    bugs: list[Exception]

    def now(self) -> float: ...

    def fault(self, asked: Asked) -> Action | None: ...

    def carry_out(self, asked: Asked) -> Reply: ...


class Connections(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, owner: Owner) -> None:
        self.owner, self.open = owner, set[socket.socket]()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = None
        if owner.ca_file:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(owner.ca_file)

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        if self.context:
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self.open -= {request}
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # gone already

    def handle_error(self, request: object, client_address: object) -> None:
        problem = sys.exc_info()[1]
        if isinstance(problem, Exception) and not isinstance(problem, OSError):
            self.owner.bugs.append(problem)


class _Cut(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024
    server: Connections

    def do_GET(self) -> None:
        owner = self.server.owner
        try:
            asked = self._asked(owner.account)
        except Refused as refused:
            self.close_connection = True
            self._send(None, refused.reply(), None)
            return
        action = owner.fault(asked)
        try:
            self._answer(asked, action)
        except _Cut:
            self.close_connection = True
            self._log(asked, 0, type(action).__name__, 0)

    do_HEAD = do_PUT = do_DELETE = do_GET

    def _asked(self, account: str) -> Asked:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = int(headers.get("content-length", "0"))
        return Asked(self.command, self.path, Target.parse(self.path, account), headers, length)

    def _answer(self, asked: Asked, action: Action | None) -> None:
        owner = self.server.owner
        if isinstance(action, CutUpload):
            self.rfile.read(min(action.after, asked.length))
            raise _Cut
        if asked.length > _LARGEST_BODY:
            self.close_connection = True
            self._send(asked, Refused(413, "RequestBodyTooLarge").reply(), None)
            return
        body = self.rfile.read(asked.length)
        if len(body) != asked.length:
            raise _Cut
        if isinstance(action, Stall):
            owner.closing.wait(action.seconds)
        if isinstance(action, Hold):
            action.held.set()
            action.until.wait(PATIENCE)
        if isinstance(action, Late):
            threading.Thread(target=self._later, args=(replace(asked, body=body), action), daemon=True).start()
            raise _Cut
        try:
            if isinstance(action, Answer):
                raise Refused(action.status, action.code, action.detail, action.headers)
            reply = owner.carry_out(replace(asked, body=body))
        except Refused as refused:
            reply = refused.reply()
        except Exception as bug:
            owner.bugs.append(bug)
            reply = Refused(500, "InternalError").reply()
        if isinstance(action, LoseAnswer):
            reply.close()
            raise _Cut
        self._send(asked, reply, action)

    def _later(self, asked: Asked, late: Late) -> None:
        late.when.wait(PATIENCE)
        try:
            self.server.owner.carry_out(asked).close()
        except Refused as refused:
            self._log(asked, refused.status, refused.code, 0)
        finally:
            late.done.set()

    def _send(self, asked: Asked | None, reply: Reply, action: Action | None) -> None:
        headers = self._headers(asked, reply)
        if isinstance(action, Lie):
            headers = {name: value for name, value in {**headers, **action.headers}.items() if value}
        self.send_response_only(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        silent = asked is not None and (asked.method == "HEAD" or reply.status in (204, 304))
        most = min(action.after, reply.length) if isinstance(action, CutDownload) else reply.length
        if asked:  # before the client can know of the answer, so that a test finds its own request in the log
            self._log(asked, reply.status, reply.headers.get("x-ms-error-code", ""), 0 if silent else most)
        if not silent:
            self._send_body(reply, most, action.at if isinstance(action, FlipBit) else None)
        self.wfile.flush()
        self.close_connection = self.close_connection or isinstance(action, CutDownload)

    def _headers(self, asked: Asked | None, reply: Reply) -> dict[str, str]:
        given = asked.headers if asked else {}
        headers = {
            "Server": "Windows-Azure-File/1.0 Microsoft-HTTPAPI/2.0",
            "x-ms-request-id": f"{time.monotonic_ns():032x}",
            "x-ms-version": given.get("x-ms-version", "2026-10-06"),
            "Date": formatdate(self.server.owner.now(), usegmt=True),
            **({"Content-Type": "application/xml"} if reply.status >= 400 else {}),
            "Content-Length": str(reply.length),
            **reply.headers,
        }
        if "x-ms-client-request-id" in given:
            headers["x-ms-client-request-id"] = given["x-ms-client-request-id"]
        return headers

    def _send_body(self, reply: Reply, most: int, flipped: int | None) -> None:
        sent = 0
        for piece in _pieces(reply.body):
            data = bytearray(piece)
            if flipped is not None and sent <= flipped < sent + len(data):
                data[flipped - sent] ^= 1
            self.wfile.write(data[: most - sent])
            sent += len(data[: most - sent])
            if sent >= most:
                break

    def _log(self, asked: Asked, status: int, code: str, sent: int) -> None:
        auth = asked.headers.get("authorization", "").partition(" ")[0] or ("SAS" if "sig" in asked.query else "")
        path = "/".join(part for part in (asked.share, asked.path) if part)
        span = asked.headers.get("x-ms-range", "")
        line = Logged(
            asked.method, path, public(asked.query), asked.operation, span, auth, asked.length, status, code, sent
        )
        with self.server.owner.lock:
            self.server.owner.log.append(line)


def _pieces(body: bytes | Slice) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    with body.file:
        at, end = body.start, body.start + body.length
        while at < end:
            piece = os.pread(body.file.fileno(), min(CHUNK, end - at), at)
            if not piece:
                raise _Cut  # somebody made the file shorter meanwhile
            at += len(piece)
            yield piece
