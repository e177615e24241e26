"""A Hub of a few in-memory repositories, on the standard library's HTTP server, that can be told to misbehave.

It answers what locking and fetching ask: `/api/models/REPO/revision/REV` and `/REPO/resolve/REV/PATH`, with Range.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

LFS_SUFFIXES = (".safetensors", ".onnx", ".onnx_data", ".bin", ".pt", ".pkl", ".gguf", ".h5")
_API = re.compile(r"/api/models/(?P<repo>.+)/revision/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+|[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Repo:
    """One repository; changing `content` makes a new commit."""

    name: str
    content: dict[str, bytes]
    card: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    @property
    def commit(self) -> str:
        parts = [f"{path} {git_sha1(data)}" for path, data in sorted(self.content.items())]
        return hashlib.sha1("\n".join([self.name, *parts]).encode()).hexdigest()

    def info(self) -> dict[str, Any]:
        siblings = [_sibling(path, data) for path, data in self.content.items()]
        return {
            "id": self.name,
            "sha": self.commit,
            "cardData": self.card,
            "tags": self.tags,
            "siblings": siblings,
        }


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_sha1(data)}
    if path.endswith(LFS_SUFFIXES):
        entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


@dataclass(frozen=True)
class Asked:
    """One request that came in; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Hook = Callable[[Asked], Reply | None]


class TinyHub:
    """The server; hooks are asked in order and the first answer is sent instead of the honest one."""

    def __init__(self, *repos: Repo, tls: ssl.SSLContext | None = None) -> None:
        self.repos = {repo.name: repo for repo in repos}
        self.asked: list[Asked] = []
        self.hooks: list[Hook] = []
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def add(self, name: str, content: dict[str, bytes | str | dict[str, Any] | list[Any]], **more: Any) -> Repo:
        """A repository of texts, bytes and JSON."""
        made = {path: _bytes(data) for path, data in content.items()}
        self.repos[name] = Repo(name, made, **more)
        return self.repos[name]

    def always(self, pattern: str, reply: Reply) -> None:
        """Answer every request whose path matches in this way."""
        self.hooks.append(lambda asked: reply if re.search(pattern, asked.path) else None)

    def times(self, count: int, pattern: str, reply: Reply) -> None:
        """Answer the next `count` requests whose path matches in this way."""
        left = iter(range(count))
        self.hooks.append(
            lambda asked: reply if re.search(pattern, asked.path) and next(left, None) is not None else None
        )

    def paths(self, pattern: str) -> list[str]:
        """The paths that were asked for and match."""
        return [asked.path for asked in self.asked if re.search(pattern, asked.path)]

    def answer(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        for hook in self.hooks:
            if reply := hook(asked):
                return reply
        path = unquote(urlsplit(asked.path).path)
        if match := _API.fullmatch(path):
            return self._info(match["repo"], match["revision"])
        if match := _FILE.fullmatch(path):
            return self._file(match["repo"], match["revision"], match["path"], asked.headers.get("range", ""))
        return Reply(404)

    def _info(self, name: str, revision: str) -> Reply:
        repo = self.repos.get(name)
        if repo is None:
            return Reply(401, headers={"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", repo.commit):
            return Reply(404, headers={"X-Error-Code": "RevisionNotFound"})
        body = json.dumps(repo.info()).encode()
        return Reply(200, body, {"Content-Type": "application/json"})

    def _file(self, name: str, revision: str, path: str, range_: str) -> Reply:
        repo = self.repos.get(name)
        if repo is None:
            return Reply(401, headers={"X-Error-Code": "RepoNotFound"})
        data = repo.content.get(path)
        if data is None or revision not in ("main", repo.commit):
            return Reply(404, headers={"X-Error-Code": "EntryNotFound"})
        headers = {"X-Repo-Commit": repo.commit, "ETag": f'"{git_sha1(data)}"', "Accept-Ranges": "bytes"}
        if match := _RANGE.fullmatch(range_):
            start, last = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
            return Reply(206, data[start : last + 1], headers)
        return Reply(200, data, headers)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _bytes(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()


def _handler(hub: TinyHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = hub.answer(Asked(self.command, self.path, headers))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if not any(name.lower() == "content-length" for name in reply.headers):
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler
