"""A stand-in for MinIO's admin API: signatures, encryption, codes and answers as the real handlers have them.

https://github.com/minio/minio/blob/7aac2a2c5/cmd/admin-handlers-users.go
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from minio.credentials.providers import Credentials
from minio.crypto import decrypt, encrypt
from minio.signer import sign_v4_s3

ADMIN, SECRET = "root-of-tests", "root-of-tests-secret"


class Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class _Body(io.BytesIO):
    """What the client's own `decrypt` reads from."""

    def release_conn(self) -> None:
        pass


@dataclass
class AdminApi:
    """The server's state.

    Attributes:
        users: name -> {"secretKey", "status", "policies"}.
        changes: every request that would change something.
        refuse: path's end -> status and code to answer instead.
        lose: path's ends whose next answer is lost, once it was done.
        tokens: the session token of every request, "" for one without.
    """

    url: str = ""
    policies: dict[str, Any] = field(default_factory=dict)
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    refuse: dict[str, Refused] = field(default_factory=dict)
    lose: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)

    def answer(self, call: str, query: dict[str, str], body: bytes) -> bytes:
        if call in self.refuse:
            raise self.refuse[call]
        if call in ("add-canned-policy", "add-user", "attach"):
            self.changes.append(call)
        if call == "info-canned-policy":
            if query["name"] not in self.policies:
                raise Refused(404, "XMinioAdminNoSuchPolicy")
            return json.dumps(self.policies[query["name"]], indent=1).encode()
        if call == "add-canned-policy":
            self.policies[query["name"]] = _normal(json.loads(body))
            return b""
        if call == "user-info":
            user = self._user(query["accessKey"])
            return json.dumps({"policyName": ",".join(user["policies"]), "status": user["status"]}).encode()
        if call == "add-user":
            asked = json.loads(decrypt(_Body(body), SECRET))
            user = self.users.setdefault(query["accessKey"], {"policies": []})
            user |= {"secretKey": asked["secretKey"], "status": asked["status"]}
            return b""
        if call == "attach":
            asked = json.loads(decrypt(_Body(body), SECRET))
            if not set(asked["policies"]) <= self.policies.keys():
                raise Refused(404, "XMinioAdminNoSuchPolicy")
            user = self._user(asked["user"])
            if set(asked["policies"]) <= set(user["policies"]):
                raise Refused(400, "XMinioAdminPolicyChangeAlreadyApplied")
            user["policies"] += asked["policies"]
            return encrypt(json.dumps({"policiesAttached": asked["policies"]}).encode(), SECRET)
        raise Refused(404, "XMinioInvalidAPI")

    def _user(self, name: str) -> dict[str, Any]:
        if name not in self.users:
            raise Refused(404, "XMinioAdminNoSuchUser")
        return self.users[name]


def _normal(document: dict[str, Any]) -> dict[str, Any]:
    """As MinIO gives a policy back: its sets come in any order."""
    statements = [s | {"Action": s["Action"][::-1], "Resource": s["Resource"][::-1]} for s in document["Statement"]]
    return {"Version": document["Version"], "Statement": statements}


def _require_signature(handler: BaseHTTPRequestHandler) -> None:
    sent = handler.headers["Authorization"]
    if f"Credential={ADMIN}/" not in sent:
        raise Refused(403, "InvalidAccessKeyId")
    signed = sent.split("SignedHeaders=")[1].split(",")[0].split(";")
    date = datetime.strptime(handler.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = sign_v4_s3(
        method=handler.command,
        url=urlsplit(f"http://{handler.headers['Host']}{handler.path}"),
        region="",
        headers={name: handler.headers[name] for name in signed},
        credentials=Credentials(ADMIN, SECRET),
        content_sha256=handler.headers["x-amz-content-sha256"],
        date=date,
    )
    if ours["Authorization"] != sent:
        raise Refused(403, "SignatureDoesNotMatch")


@contextmanager
def admin_api() -> Iterator[AdminApi]:
    api = AdminApi()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            url = urlsplit(self.path)
            call = url.path.rsplit("/", 1)[1]
            api.tokens.append(self.headers.get("X-Amz-Security-Token", ""))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                _require_signature(self)
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                status, answer = 200, api.answer(call, query, body)
            except Refused as refused:
                status, answer = refused.status, json.dumps({"Code": refused.code}).encode()
            if call in api.lose:
                api.lose.remove(call)
                return  # the connection ends without a word
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
