"""What stands around a bucket at Amazon and in a company: desks that give credentials, and a forward proxy."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from tests.support.patience import PATIENCE
from tests.support.s3_fault_actions import Action, Exchange, Headers
from tests.support.seaweed import S3Server

STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>
<AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>
<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken>{Token}</SessionToken>
<Expiration>{Expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_HOP = {"connection", "proxy-connection", "keep-alive", "transfer-encoding", "host", "proxy-authorization"}


@dataclass(frozen=True)
class Asked:
    """One request; the names of its headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


# --- signatures ---


def signature(asked: Asked, host: str, secret: str, region: str) -> str:
    """The Authorization that a request should have: over the headers it says it signed, by this secret."""
    given = asked.headers["authorization"]
    access = given.partition("Credential=")[2].partition("/")[0]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    return _signed(asked, host, {name: asked.headers[name] for name in names}, Credentials(access, secret), region)[
        "Authorization"
    ]


def signed_by(server: S3Server, asked: Asked, host: str, without: tuple[str, ...] = ()) -> dict[str, str]:
    """A request's headers, less some, as the server wants them."""
    dropped = {*_HOP, *without, "authorization"}
    kept = {name: value for name, value in asked.headers.items() if name not in dropped} | {"host": host}
    return _signed(asked, host, kept, Credentials(server.access_key, server.secret_key), server.region)


def _signed(asked: Asked, host: str, headers: dict[str, Any], credentials: Credentials, region: str) -> dict[str, str]:
    path, _, query = asked.target.partition("?")
    query = "&".join(part if "=" in part else f"{part}=" for part in query.split("&")) if query else ""
    found: Any = sign_v4_s3(
        method=asked.method,
        url=urlsplit(f"http://{host}{path}" + (f"?{query}" if query else "")),
        region=region,
        headers=headers,
        credentials=credentials,
        content_sha256=asked.headers["x-amz-content-sha256"],
        date=datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
    )
    return {name: str(value) for name, value in found.items()}


@dataclass
class Gate(Action):
    """Before a server that knows only its own keys: lets in whom the desk gave keys to, and keeps what it saw.

    Attributes:
        given: access key -> secret key and session token.
        drop: headers that the server behind does not know; `seen` has them.
        users: the access key of every request.
        seen: method, target and the dropped headers of every request.
    """

    server: S3Server
    given: dict[str, tuple[str, str]]
    drop: tuple[str, ...] = ()
    users: list[str] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def request_headers(self, exchange: Exchange, target: str, headers: Headers) -> Headers:
        asked = Asked(exchange.method, target, {name.lower(): value for name, value in headers}, b"")
        user = asked.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        secret, token = self.given[user]
        assert asked.headers.get("x-amz-security-token", "") == token
        assert signature(asked, asked.headers["host"], secret, self.server.region) == asked.headers["authorization"]
        self.users.append(user)
        self.seen.append(
            (asked.method, target, {name: asked.headers[name] for name in self.drop if name in asked.headers})
        )
        return list(signed_by(self.server, asked, asked.headers["host"], ("x-amz-security-token", *self.drop)).items())


# --- desks ---


@dataclass
class Desk:
    """Gives credentials: as an STS, as a container's agent, or as an instance's metadata service.

    Attributes:
        seconds: how long each holds.
        given: access key -> secret key and session token, in the order they were given.
        url: where it is.
        asked: what was asked of it.
    """

    seconds: float = 3600
    given: dict[str, tuple[str, str]] = field(default_factory=dict)
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    def new(self) -> dict[str, str]:
        number = len(self.given) + 1
        self.given[f"given-{number}"] = (f"secret-{number}", f"token-{number}")
        until = datetime.now(UTC) + timedelta(seconds=self.seconds)
        return {
            "AccessKeyId": f"given-{number}",
            "SecretAccessKey": f"secret-{number}",
            "Token": f"token-{number}",
            "Expiration": f"{until:%Y-%m-%dT%H:%M:%SZ}",
        }

    def answer(self, asked: Asked) -> Said:
        """Raises AssertionError for what the real ones would refuse."""
        if asked.target == "/latest/api/token":
            assert (asked.method, "x-aws-ec2-metadata-token-ttl-seconds" in asked.headers) == ("PUT", True)
            return Said(body=b"of-the-session")
        if asked.target.startswith("/latest/meta-data/iam/security-credentials/"):
            assert asked.headers["x-aws-ec2-metadata-token"] == "of-the-session"
            role = asked.target.rpartition("/")[2]
            return Said(body=json.dumps({"Code": "Success", **self.new()}).encode() if role else b"role")
        if asked.target == "/container":
            assert asked.headers["authorization"] == "of-the-pod"
            return Said(body=json.dumps(self.new()).encode())
        assert b"WebIdentityToken=identity-of-the-pod" in asked.body
        return Said(body=STS.format(**self.new()).encode())


@contextmanager
def desk(seconds: float = 3600) -> Iterator[Desk]:
    found = Desk(seconds)
    with answering(found.answer) as (found.url, found.asked):
        yield found


@contextmanager
def answering(answer: Callable[[Asked], Said]) -> Iterator[tuple[str, list[Asked]]]:
    """A server; its URL and what it was asked."""
    log: list[Asked] = []
    problems: list[Exception] = []

    class Handler(_Handler):
        def serve(self) -> None:
            asked = self.asked()
            log.append(asked)
            try:
                said = answer(asked)
            except Exception as error:
                problems.append(error)
                said = Said(400)
            self.say(said)

        do_GET = do_PUT = do_POST = do_HEAD = serve

    with _running(Handler) as host:
        yield f"http://{host}", log
    if problems:
        raise problems[0]


# --- a forward proxy ---


@dataclass
class Forward:
    """A company's proxy. What is asked of `BUCKET.DOMAIN` it has from the real server.

    Attributes:
        url: where it is.
        domain: where buckets are host names; their signatures are checked.
        targets: every request's method and target, CONNECT among them.
        head_bucket: what a HEAD of a bucket in the domain is answered, instead of the server's answer.
    """

    server: S3Server
    domain: str = ""
    region: str = "us-east-1"
    url: str = ""
    targets: list[tuple[str, str]] = field(default_factory=list)
    head_bucket: Said | None = None

    def answer(self, asked: Asked) -> Said:
        url = urlsplit(asked.target)
        bucket, dot, domain = url.netloc.partition(".")
        target = url.path + (f"?{url.query}" if url.query else "")
        if not (dot and self.domain and domain == self.domain):
            return _forwarded(url.netloc, Asked(asked.method, target, asked.headers, asked.body), dict(asked.headers))
        if self.head_bucket and (asked.method, url.path) == ("HEAD", "/"):
            return self.head_bucket
        there = Asked(asked.method, target, asked.headers, asked.body)
        assert signature(there, url.netloc, self.server.secret_key, self.region) == asked.headers["authorization"]
        host = urlsplit(self.server.endpoint).netloc
        within = Asked(asked.method, f"/{bucket}{target}", asked.headers, asked.body)
        return _forwarded(host, within, signed_by(self.server, within, host))


def _forwarded(host: str, asked: Asked, headers: dict[str, str]) -> Said:
    connection = HTTPConnection(host, timeout=PATIENCE)
    try:
        kept = {name: value for name, value in headers.items() if name.lower() not in _HOP - {"host"}}
        connection.request(asked.method, asked.target, asked.body or None, kept)
        response = connection.getresponse()
        dropped = _HOP | ({"content-length"} if asked.method != "HEAD" else set())
        found = tuple((name, value) for name, value in response.getheaders() if name.lower() not in dropped)
        return Said(response.status, response.read(), found)
    finally:
        connection.close()


@contextmanager
def forward(server: S3Server, **settings: Any) -> Iterator[Forward]:
    proxy = Forward(server, **settings)
    problems: list[Exception] = []

    class Handler(_Handler):
        def serve(self) -> None:
            asked = self.asked()
            proxy.targets.append((asked.method, asked.target))
            try:
                said = proxy.answer(asked)
            except Exception as error:
                problems.append(error)
                said = Said(400)
            self.say(said)

        def do_CONNECT(self) -> None:
            proxy.targets.append(("CONNECT", self.path))
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _joined(self.connection, there)
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve

    with _running(Handler) as host:
        proxy.url = f"http://{host}"
        yield proxy
    if problems:
        raise problems[0]


def _joined(here: socket.socket, there: socket.socket) -> None:
    other = {here: there, there: here}
    with suppress(OSError):
        while True:
            for ready in select.select([here, there], [], [], PATIENCE)[0]:
                if not (data := ready.recv(65536)):
                    return
                other[ready].sendall(data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE

    def asked(self) -> Asked:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Asked(self.command, self.path, headers, body)

    def say(self, said: Said) -> None:
        self.send_response_only(said.status)
        for name, value in said.headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in said.headers):
            self.send_header("Content-Length", str(len(said.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """The client went away."""


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
