"""The real application over engines that a test steers, behind a real uvicorn; and a client down to the socket."""

from __future__ import annotations

import http.client
import io
import json
import logging
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import uvicorn

from provisioner.serve import logs
from provisioner.serve.backend import Checked, Served
from provisioner.serve.http.app import Application, create_app
from provisioner.serve.instruments import Instruments
from provisioner.serve.local import LocalBackend
from provisioner.serve.server import _config
from provisioner.serve.settings import Limits, ModelSettings, Settings
from tests.support.patience import PATIENCE, until
from tests.support.serve_engines import Gated, Plain

MARK = "heliotrope-marginalia"  # a text that no log, metric or trace may have
PATIENCE_S = PATIENCE
ATTEMPTS = 5  # connections, before one that the server always closes is what the test gets
EMBEDDER, RERANKER = "org/embedder", "org/reranker"
RELEASE = Checked(
    "7f3c9a1b2d4e",
    "7f" * 32,
    "c1" * 32,
    "2026-05-02T10:11:12Z",
    "recorded",
    "2026-05-03T01:02:03Z",
    19,
    90_868_376,
    0.03,
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Core:
    """A running application.

    Attributes:
        log: everything that was logged, at DEBUG, as the server formats it.
    """

    app: Application
    backend: LocalBackend
    engine: Plain
    port: int
    log: io.StringIO = field(repr=False)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request on a connection of its own; a body that is not bytes goes as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, data, given)
            return _read(connection.getresponse())
        finally:
            connection.close()

    def embed(self, *texts: str, **headers: str) -> Answer:
        return self.ask("POST", "/embed", {"texts": texts}, **headers)

    def raw(self, sent: bytes = b"") -> socket.socket:
        """A connection on which something was sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        connection.sendall(sent)
        return connection

    def heard(self, sent: bytes) -> socket.socket:
        """The same, on which the server has something to say or work to do. It closes one without a word on which
        nothing came in time, and this machine may be slower than that: then it is another connection. One that it
        closes each time is given back as it is."""
        connection = self.raw(sent)
        for _ in range(ATTEMPTS - 1):
            if self._hears(connection):
                return connection
            connection.close()
            connection = self.raw(sent)
        self._hears(connection)
        return connection

    def _hears(self, connection: socket.socket) -> bool:
        """Whether there is work, or an answer: waits for that, or for the end of the connection."""
        wait_for(lambda: self.app.gate.at_work > 0 or _readable(connection))
        return self.app.gate.at_work > 0 or not closed(connection, peek=True)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, line by line."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def line(self, **facts: object) -> dict[str, Any]:
        """The first line with these facts; it is waited for, since it is written behind the answer."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [line for line in self.lines if facts.items() <= line.items()]
            return bool(found)

        wait_for(look)
        return found[0]


def wait_for(happened: Callable[[], bool]) -> None:
    """Until something is so."""
    until(happened)


def answer(connection: socket.socket) -> Answer:
    """What comes back on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return _read(response)


def closed(connection: socket.socket, *, peek: bool = False) -> bool:
    """Whether the other side has ended the connection, in order or by a reset. Waits until it says something."""
    try:
        return connection.recv(1, socket.MSG_PEEK if peek else 0) == b""
    except ConnectionResetError:
        return True


def _readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def _read(response: http.client.HTTPResponse) -> Answer:
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


@contextmanager
def serving(engine: Plain | None = None, *, ready: bool = True, **settings: Any) -> Iterator[Core]:
    """The application with one embedder and one reranker."""
    used = replace(Settings(), **settings)
    instruments, embedder = Instruments(), engine or Plain()
    backend = LocalBackend(used.role, used.limits, used.wait, instruments)
    backend.checked(RELEASE)
    for task, repo, one in (("embed", EMBEDDER, embedder), ("rerank", RERANKER, Plain(scores=True))):
        served = Served(task, repo, "a" * 40, (), 5, 0.25, one.about)
        backend.add(served, one, ModelSettings())
    if ready:
        backend.ready(1.5)
    app = create_app(backend, used, instruments)
    with logged() as log, _listening(app, used) as port:
        try:
            yield Core(app, backend, embedder, port, log)
        finally:
            if isinstance(embedder, Gated):
                embedder.free()


@contextmanager
def logged() -> Iterator[io.StringIO]:
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    handler.setFormatter(logs.JsonLines())
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield stream
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def _listening(app: Application, settings: Settings) -> Iterator[int]:
    config = _config(app, settings)
    config.host, config.port = "127.0.0.1", 0
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_S)


def small(**limits: Any) -> Limits:
    """Limits that a test reaches."""
    return replace(Limits(), **limits)
