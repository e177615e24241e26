"""A small API server: jobs, pods, events, claims and their like, driven by a test that plays the rest of the cluster.

It keeps objects, applies server-side, lists by label and field in pages, deletes in the fore- and background, and
streams logs. What controllers, scheduler and kubelet would do is done by the test, step by step, whatever the time.
"""

from __future__ import annotations

import base64
import copy
import itertools
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ruamel.yaml import YAML

from tests.support.api_discovery import GROUPS, KINDS, discovery
from tests.support.azure_files.certificate import make
from tests.support.patience import PATIENCE

Object = dict[str, Any]


class Refusal(Exception):
    """A Status that is no success."""

    def __init__(self, code: int, reason: str, message: str, causes: list[Object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "code": code,
            "reason": reason,
            "message": message,
            "details": {"causes": causes or []},
        }


@dataclass
class Log:
    """What a container has said: lines with their times, when to cut, and whether it is over."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    over: bool = False
    cuts: list[int] = field(default_factory=list)  # a stream ends after so many lines, one stream each
    streams: int = 0


class ApiServer:
    """The state and the server over it; all that a test calls is safe in any thread."""

    def __init__(self, folder: Path) -> None:
        self.certificate = make(folder)  # kubectl sends a token over TLS only
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.logs: dict[str, Log] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.lost: set[str] = set()  # pods whose log no node has
        self.forbidden: set[tuple[str, str]] = set()  # (method, plural), as ("GET", "pods/log")
        self.allowed: set[tuple[str, str]] | None = None  # the same; everything where it is None
        self.faults: list[tuple[str, str, int]] = []  # (method, plural, status), each for one request; 0 hangs up
        self.owned: set[str] = set()  # names whose fields another manager holds
        self.applied: Callable[[str, str], None] = lambda _plural, _name: None  # before anybody else can see it
        self.page = 500
        self.changed = threading.Condition(threading.RLock())
        self._numbers = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[ApiServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self.put("namespaces", "", "default", {"kind": "Namespace", "apiVersion": "v1", "metadata": {}})
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def kubeconfig(self, folder: Path, namespace: str = "default") -> Path:
        path = folder / "kubeconfig"
        user = {"name": "u", "user": {"token": "t0ken"}}
        context = {"name": "test", "context": {"cluster": "c", "user": "u", "namespace": namespace}}
        text = self.certificate.read_text()
        authority = base64.b64encode(text[text.index("-----BEGIN CERT") :].encode()).decode()
        clusters = [{"name": "c", "cluster": {"server": self.url, "certificate-authority-data": authority}}]
        document = {"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": [user], "contexts": [context]}
        path.write_text(json.dumps(document | {"current-context": "test"}))
        return path

    # What a test plays.

    def put(self, plural: str, namespace: str, name: str, one: Object) -> Object:
        """Make or replace an object, as a controller would."""
        with self.changed:
            metadata = one.setdefault("metadata", {})
            number = next(self._numbers)
            metadata |= {"name": name, "resourceVersion": str(number)}
            metadata.setdefault("uid", f"uid-{number}")
            metadata.setdefault("creationTimestamp", f"2026-01-01T00:00:{number % 60:02}Z")
            if namespace:
                metadata["namespace"] = namespace
            self.objects[plural, namespace, name] = one
            self.changed.notify_all()
            return one

    def wait(self, what: Callable[[], Any]) -> Any:
        """Until it is true; what it then is."""
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE), f"never happened; asked: {self.requests[-8:]}"
            return what()

    def asked(self, method: str, ending: str) -> int:
        """How often something was asked for."""
        return sum(m == method and path.endswith(ending) for m, path, _ in self.requests)

    def looks(self, ending: str, times: int = 2) -> None:
        """Until something was asked for so many times more: by then what was there before has been seen."""
        with self.changed:
            before = self.asked("GET", ending)
        self.wait(lambda: self.asked("GET", ending) >= before + times)

    def say(self, pod: str, *lines: str, time: str | None = None) -> None:
        """Lines of a pod's container; ten share one second, and some the very same time."""
        with self.changed:
            log = self.logs.setdefault(pod, Log())
            for line in lines:
                number = len(log.lines)
                at = time or f"2026-01-01T00:{number // 10 % 60:02}:{number // 10 % 60:02}.{number % 10 // 2:09}Z"
                log.lines.append((at, line))
            self.changed.notify_all()

    def hush(self, pod: str) -> None:
        """The container has ended: its log has no more lines."""
        with self.changed:
            self.logs.setdefault(pod, Log()).over = True
            self.changed.notify_all()

    # What a client asks.

    def apply(self, plural: str, namespace: str, name: str, query: dict[str, str], body: Object) -> tuple[int, Object]:
        if not query.get("fieldManager"):
            raise Refusal(422, "Invalid", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        if namespace and ("namespaces", "", namespace) not in self.objects:
            raise Refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        if body.get("kind") != KINDS[plural][0] or body["metadata"].get("name") != name:
            raise Refusal(400, "BadRequest", "the name and kind of the object do not match the URL")
        there = self.objects.get((plural, namespace, name))
        if name in self.owned and query.get("force") != "true":
            causes = [{"reason": "FieldManagerConflict", "message": 'conflict with "argocd"', "field": ".spec"}]
            raise Refusal(409, "Conflict", 'Apply failed with 1 conflict: conflict with "argocd": .spec', causes)
        made = copy.deepcopy(body)
        if there is not None:
            _check_immutable(plural, there, made)
            made = there | {key: value for key, value in made.items() if key != "metadata"}
            made["metadata"] = there["metadata"] | body["metadata"]
        if query.get("dryRun") == "All":
            return 200, made
        if plural == "jobs" and there is None:
            made["metadata"]["uid"] = f"uid-{next(self._numbers)}"
            made["spec"].setdefault(
                "selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": made["metadata"]["uid"]}}
            )
            made["status"] = {}
        self.put(plural, namespace, name, made)
        self.applied(plural, name)
        return (201 if there is None else 200), made

    def replace(self, plural: str, namespace: str, name: str, query: dict[str, str], body: Object) -> Object:
        there = self.get(plural, namespace, name)
        if body["metadata"].get("resourceVersion") != there["metadata"]["resourceVersion"]:
            raise Refusal(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        if query.get("dryRun") == "All":
            return body
        generation = int(there["metadata"].get("generation", 1)) + (body["spec"] != there["spec"])
        return self.put(plural, namespace, name, body | {"metadata": body["metadata"] | {"generation": generation}})

    def list(self, plural: str, namespace: str, query: dict[str, str]) -> Object:
        found = [one for (kind, space, _), one in self.objects.items() if (kind, space) == (plural, namespace)]
        found = [one for one in found if _matches(one, query)]
        start = int(query.get("continue") or 0)
        stop = start + min(int(query.get("limit") or self.page), self.page)
        metadata = {"resourceVersion": "1"} | ({"continue": str(stop)} if stop < len(found) else {})
        kind, group = KINDS[plural]
        return {"kind": f"{kind}List", "apiVersion": group, "metadata": metadata, "items": found[start:stop]}

    def get(self, plural: str, namespace: str, name: str) -> Object:
        found = self.objects.get((plural, namespace, name))
        if found is None:
            raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
        return found

    def delete(self, plural: str, namespace: str, name: str, query: dict[str, str]) -> Object:
        found = self.get(plural, namespace, name)
        if query.get("propagationPolicy") == "Foreground":
            found["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"  # it goes when the test lets it
        else:
            self.vanish(plural, namespace, name)
        self.changed.notify_all()
        return found

    def vanish(self, plural: str, namespace: str, name: str) -> None:
        """The garbage collector: the object and the pods it owns."""
        with self.changed:
            uid = self.objects.pop((plural, namespace, name))["metadata"]["uid"]
            for key, one in list(self.objects.items()):
                if any(owner.get("uid") == uid for owner in one["metadata"].get("ownerReferences") or []):
                    del self.objects[key]
            self.changed.notify_all()


def _check_immutable(plural: str, there: Object, made: Object) -> None:
    for kind, path in (("jobs", ("spec", "template")), ("jobs", ("spec", "completions")), ("configmaps", ("data",))):
        before, after = _at(there, path), _at(made, path)
        if plural == kind and before != after:
            place = ".".join(path)
            cause = {"reason": "FieldValueInvalid", "message": "field is immutable", "field": place}
            raise Refusal(422, "Invalid", f'{made["kind"]} "x" is invalid: {place}: field is immutable', [cause])


def _at(one: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        one = (one or {}).get(part)
    return one


def _matches(one: Object, query: dict[str, str]) -> bool:
    labels = one["metadata"].get("labels") or {}
    wanted = [part.partition("=") for part in query.get("labelSelector", "").split(",") if part]
    fields = [part.partition("=") for part in query.get("fieldSelector", "").split(",") if part]
    return all(labels.get(key) == value for key, _, value in wanted) and all(
        str(_at(one, tuple(key.split(".")))) == value for key, _, value in fields
    )


@dataclass(frozen=True)
class _Place:
    plural: str
    namespace: str
    name: str
    sub: str


def _place(path: str) -> _Place:
    parts = [part for part in path.split("/") if part]
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return _Place(parts[0], namespace, *[*parts[1:], "", ""][:2])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _handler(api: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._handle()

        do_PATCH = do_DELETE = do_POST = do_PUT = do_GET

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with api.changed:
                api.requests.append((self.command, parts.path, query))
                api.changed.notify_all()
            if (found := discovery(parts.path)) is not None:
                return self._send(200, found)
            if parts.path.count("/") < 3 or not parts.path.startswith(GROUPS):
                return self._send(404, Refusal(404, "NotFound", "the server could not find it").status)
            try:
                self._answer(_place(parts.path), query, body)
            except Refusal as refusal:
                self._send(refusal.code, refusal.status)
            return None

        def _answer(self, at: _Place, query: dict[str, str], body: bytes) -> None:
            kind = f"{at.plural}/{at.sub}" if at.sub else at.plural
            if (fault := next((one for one in api.faults if one[:2] == (self.command, kind)), None)) is not None:
                api.faults.remove(fault)
                if fault[2] == 0:
                    self.close_connection = True
                    return self.connection.close()
                raise Refusal(fault[2], "InternalError", "etcdserver: request timed out")
            if self.headers.get("Authorization") != "Bearer t0ken":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            asked = (self.command, kind)
            if asked in api.forbidden or (api.allowed is not None and asked not in api.allowed):
                message = f'{kind} is forbidden: User "u" cannot {self.command.lower()} resource "{kind}"'
                raise Refusal(403, "Forbidden", message)
            if at.sub == "log":
                return self._log(at.name, query)
            with api.changed:
                code, found = self._ask(at, query, body)
                text = json.dumps(found)
            return self._send(code, text)

        def _ask(self, at: _Place, query: dict[str, str], body: bytes) -> tuple[int, Object]:
            if self.command == "PATCH":
                if self.headers.get("Content-Type") != "application/apply-patch+yaml":
                    raise Refusal(415, "UnsupportedMediaType", "only server-side apply")
                return api.apply(at.plural, at.namespace, at.name, query, YAML(typ="safe", pure=True).load(body))
            if self.command == "PUT":
                return 200, api.replace(at.plural, at.namespace, at.name, query, json.loads(body))
            if self.command == "DELETE":
                return 200, api.delete(at.plural, at.namespace, at.name, query)
            if at.name:
                return 200, api.get(at.plural, at.namespace, at.name)
            return 200, api.list(at.plural, at.namespace, query)

        def _send(self, code: int, document: Object | str) -> None:
            data = (document if isinstance(document, str) else json.dumps(document)).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _log(self, pod: str, query: dict[str, str]) -> None:
            with api.changed:
                if pod in api.lost:
                    raise Refusal(500, "InternalError", "dial tcp 10.0.0.7:10250: i/o timeout")
                if pod not in api.logs:
                    raise Refusal(400, "BadRequest", f'container "mirror" in pod "{pod}" is waiting to start')
                log = api.logs[pod]
                log.streams += 1
                api.changed.notify_all()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                self._lines(log, query)
            except OSError:
                self.close_connection = True

        def _lines(self, log: Log, query: dict[str, str]) -> None:
            sent, stop = 0, log.cuts.pop(0) if log.cuts else None
            for number in itertools.count():
                with api.changed:
                    if query.get("follow") == "true":
                        api.changed.wait_for(lambda at=number: at < len(log.lines) or log.over, PATIENCE)
                    if number >= len(log.lines):
                        break
                    time, line = log.lines[number]
                if time[:19] < query.get("sinceTime", "")[:19]:
                    continue
                if sent == stop:  # as a connection that breaks: no last chunk
                    self.close_connection = True
                    return self.connection.close()
                data = f"{time} {line}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                sent += 1
            self.wfile.write(b"0\r\n\r\n")
            return None

    return Handler
