"""Which server a minio:// address means, whose keys go there, and that they go nowhere else."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    MissingExtra,
    NotFound,
    ProvisionError,
    Unusable,
    UsageError,
)
from provisioner.model import Digest
from provisioner.stores.objects.minio import MinioBucket
from provisioner.stores.objects.minio_client import Connection
from provisioner.stores.objects.minio_login import Keys, locate, locate_by
from tests.support import seaweed
from tests.support.object_backend import environment
from tests.support.s3_fault_actions import not_implemented
from tests.support.s3_faults import Fault, FaultyS3

SECRET = "se/cret+of:ours"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in os.environ:
        if name.startswith(("AWS_", "MINIO_", "MC_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setenv("MINIO_ACCESS_KEY", "access")
    monkeypatch.setenv("MINIO_SECRET_KEY", SECRET)
    return Keys("access", SECRET)


def configure(home: Path, content: object) -> None:
    (home / ".mc").mkdir(exist_ok=True)
    (home / ".mc" / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("host", "settings", "url"),
    [
        ("minio.example", {}, "https://minio.example"),
        ("Minio.Example:443", {}, "https://minio.example"),
        ("minio:9000", {}, "https://minio:9000"),
        ("minio:9000", {"MINIO_SECURE": "false"}, "http://minio:9000"),
        ("minio.models.svc:80", {"MINIO_SECURE": "FALSE"}, "http://minio.models.svc"),
        ("[::1]:9000", {}, "https://[::1]:9000"),
        ("localhost", {}, "https://localhost"),
        ("", {"MINIO_ENDPOINT": "http://minio:9000/"}, "http://minio:9000"),
        ("", {"MINIO_ENDPOINT": "minio:9000"}, "https://minio:9000"),
        ("", {"MINIO_ENDPOINT": "minio:9000", "MINIO_SECURE": "no"}, "http://minio:9000"),
        ("minio:9000", {"MINIO_ENDPOINT": "http://minio:9000"}, "http://minio:9000"),
        ("minio:9000", {"MINIO_ENDPOINT": "http://MINIO:9000", "MINIO_SECURE": "true"}, "http://minio:9000"),
        ("minio", {"MINIO_ENDPOINT": "https://minio"}, "https://minio"),
    ],
)
def test_where_the_server_is(
    host: str, settings: dict[str, str], url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    found = locate(host)
    assert (found.url, found.keys) == (url, keys)


@pytest.mark.parametrize("host", ["other:9000", "minio:9001", "minio.example", "minio:80"])
def test_keys_go_to_no_other_server(host: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_ENDPOINT", "http://minio:9000")
    with pytest.raises(AccessDenied) as caught:
        locate(host)
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize(
    ("host", "settings", "error"),
    [
        ("", {}, UsageError),
        ("nowhere", {}, UsageError),
        (f"access:{SECRET}@minio:9000", {}, UsageError),
        ("access:se", {}, UsageError),
        ("minio:99999", {}, UsageError),
        ("mi nio:9000", {}, UsageError),
        ("minio:9000", {"MINIO_SECURE": "perhaps"}, UsageError),
        ("", {"MINIO_ENDPOINT": "http://minio:9000/path"}, UsageError),
        ("", {"MINIO_ENDPOINT": f"http://access:{SECRET}@minio:9000"}, UsageError),
        ("", {"MINIO_ENDPOINT": "ftp://minio"}, UsageError),
        ("minio:9000", {"MINIO_SECRET_KEY": ""}, AccessDenied),
        ("minio:9000", {"MINIO_ACCESS_KEY": ""}, AccessDenied),
        ("house", {"MC_HOST_house": f"https://access:{SECRET}@minio:9000/path"}, UsageError),
        ("house", {"MC_HOST_house": f"minio:9000:{SECRET}"}, UsageError),
        ("house", {"MC_HOST_house": "https://minio:9000"}, AccessDenied),
    ],
)
def test_what_is_refused_says_no_secret(
    host: str, settings: dict[str, str], error: type[ProvisionError], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error) as caught:
        locate(host)
    assert caught.value.hint
    assert "se/cret" not in shown(caught.value) and "access:se" not in shown(caught.value)


def shown(error: ProvisionError) -> str:
    return f"{error} {error!r} {error.hint}"


def test_the_names_that_a_server_itself_is_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_ROOT_USER", "root")
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", SECRET)
    monkeypatch.setenv("MINIO_SESSION_TOKEN", "token")
    found = locate("minio:9000")
    assert found.keys == Keys("root", SECRET, "token")
    assert SECRET not in repr(found) and "token" not in repr(found.keys).replace("token=", "")


@pytest.mark.parametrize(
    ("value", "url", "expected"),
    [
        ("https://access:secret@minio:9000", "https://minio:9000", Keys("access", "secret")),
        ("http://access:se/cret+@10.0.0.1:80/", "http://10.0.0.1", Keys("access", "se/cret+")),
        ("https://access:se%2Fcret:to%3Aken@minio", "https://minio", Keys("access", "se%2Fcret", "to%3Aken")),
        ("https://access:p@ss@minio", "https://minio", Keys("access", "p@ss")),
        ("https://access:secret:a:b@c@minio", "https://minio", Keys("access", "secret", "a:b@c")),
    ],
)
def test_an_alias_in_the_environment(
    value: str, url: str, expected: Keys, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIO_ENDPOINT", "https://elsewhere:9000")
    monkeypatch.setenv("MC_HOST_my-house_2", value)
    found = locate("my-house_2")
    assert (found.url, found.keys) == (url, expected)


@pytest.mark.parametrize(
    ("url", "configured", "found"),
    [
        (None, "http://minio:9000", "http://minio:9000"),
        ("http://minio:9000/", "http://MINIO:9000", "http://minio:9000"),
        ("minio:9000", "http://minio:9000", "http://minio:9000"),
        ("minio:9000", "", "https://minio:9000"),
        ("http://minio", "", "http://minio"),
    ],
)
def test_a_server_by_its_url(
    url: str | None, configured: str, found: str, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIO_ENDPOINT", configured)
    endpoint = locate_by(url, None)
    assert (endpoint.url, endpoint.keys) == (found, keys)


@pytest.mark.parametrize(
    ("url", "alias", "error"),
    [
        (None, None, UsageError),
        ("ftp://minio", None, UsageError),
        (f"https://access:{SECRET}@minio", None, UsageError),
        ("https://minio/path", None, UsageError),
        ("https://", None, UsageError),
        (None, "nowhere", NotFound),
        (None, "minio:9000", NotFound),
        (None, "half", UsageError),
        ("https://other:9000", "house", AccessDenied),
        ("http://minio:9000", "house", AccessDenied),  # what was given for TLS does not go in clear
    ],
)
def test_a_server_that_is_refused(
    url: str | None, alias: str | None, error: type[ProvisionError], keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MC_HOST_house", f"https://access:{SECRET}@minio:9000")
    monkeypatch.setenv("MC_HOST_half", f"minio:9000:{SECRET}")
    assert locate_by("minio:9000", "house") == locate_by(None, "house")
    with pytest.raises(error) as caught:
        locate_by(url, alias)
    assert caught.value.hint and "se/cret" not in shown(caught.value)


def test_an_alias_in_the_file_of_mc(home: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"url": "http://minio:9000", "accessKey": "a", "secretKey": "b", "sessionToken": "c", "path": "auto"}
    configure(home, {"version": "10", "aliases": {"house": entry, "empty": {**entry, "secretKey": ""}}})
    found = locate("house")
    assert (found.url, found.keys) == ("http://minio:9000", Keys("a", "b", "c"))
    with pytest.raises(AccessDenied, match="empty"):
        locate("empty")
    with pytest.raises(UsageError, match="other"):
        locate("other")
    monkeypatch.setenv("MC_HOST_house", "https://x:y@stronger")
    assert locate("house").keys == Keys("x", "y")
    (home / "elsewhere").mkdir()
    (home / ".mc" / "config.json").rename(home / "elsewhere" / "config.json")
    monkeypatch.delenv("MC_HOST_house")
    monkeypatch.setenv("MC_CONFIG_DIR", str(home / "elsewhere"))
    assert locate("house") == found


@pytest.mark.parametrize("content", ["no json", "[]", {"aliases": ["house"]}, {"aliases": {"house": "text"}}, "\x00"])
def test_a_file_that_is_not_of_mc(home: Path, content: object) -> None:
    configure(home, content)
    with pytest.raises(InvalidInput, match=r"config\.json"):
        locate("house")
    assert locate("house.example:9000").url == "https://house.example:9000"


@pytest.mark.parametrize("bucket", ["x", "192.168.0.1", "a..b", "-models"])
def test_what_cannot_be_a_bucket(bucket: str, keys: Keys) -> None:
    with pytest.raises(UsageError):
        MinioBucket("minio:9000", bucket)


def test_without_the_client(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == "minio" or name.startswith("minio."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minio", None)
    with pytest.raises(MissingExtra):
        MinioBucket("minio:9000", "models")


def test_without_credentials() -> None:
    with pytest.raises(AccessDenied) as caught:
        MinioBucket("minio:9000", "models")
    assert "MINIO_ACCESS_KEY" in caught.value.hint


def test_a_region_that_is_none(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_REGION", "the moon")
    with pytest.raises(UsageError):
        list(MinioBucket("minio:9000", "models").list(""))
    monkeypatch.setenv("MINIO_REGION", "eu-house-1")
    assert Connection("minio:9000", "models").client._base_url.region == "eu-house-1"


@contextmanager
def answering(status: int, body: bytes, kind: str = "application/xml") -> Iterator[tuple[str, list[str]]]:
    """A server with one answer to everything; its host and port, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "text/html"), (400, "text/plain"), (404, "text/html"), (307, "text/html")]
)
def test_a_server_that_is_no_s3(status: int, kind: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIO_SECURE", "false")
    with answering(status, b"<html>the console<br></html>", kind) as (host, asked):
        with pytest.raises(Unusable) as caught:
            list(MinioBucket(host, "models").list(""))
        assert "console" in caught.value.hint
        assert len(asked) == 1  # neither repeated nor redirected


STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>given</AccessKeyId><SecretAccessKey>by-sts</SecretAccessKey>
<SessionToken>for-a-while</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


def test_a_web_identity(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "token").write_text("identity-of-the-pod")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    monkeypatch.setenv("MINIO_REGION", "us-east-1")
    with answering(200, STS.encode()) as (host, asked):
        monkeypatch.setenv("MINIO_STS_ENDPOINT", f"http://{host}/sts/house")
        connection = Connection("minio:9000", "models")
        for _ in range(2):
            headers = connection.sign("GET", connection.root + "key", {"Range": "bytes=0-1"}, "UNSIGNED-PAYLOAD")
            assert headers["x-amz-security-token"] == "for-a-while"
            assert "Credential=given/" in headers["Authorization"]
        assert [one.partition("?")[0] for one in asked] == ["POST /sts/house"]


@pytest.mark.parametrize(("status", "body"), [(403, b""), (503, b""), (200, b"<html><br></html>"), (307, b"")])
def test_a_web_identity_that_is_refused(
    status: int, body: bytes, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "token").write_text("identity-of-the-pod")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "token"))
    with answering(status, body) as (host, asked), caplog.at_level("WARNING"):
        monkeypatch.setenv("MINIO_STS_ENDPOINT", f"http://{host}/sts/house")
        with pytest.raises(AccessDenied) as caught:
            list(MinioBucket("minio:9000", "models").list(""))
        assert len(asked) == 1
    assert "identity-of" not in shown(caught.value) + caplog.text and caught.value.__cause__ is None


@pytest.mark.skipif(bool(seaweed.cannot_serve()), reason=seaweed.cannot_serve() or "there is one")
def test_a_server_without_conditions_is_written_all_the_same(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = seaweed.server()
    if not server.endpoint.startswith("http:"):
        pytest.skip("the proxy speaks plain http only")
    name, content = seaweed.new_bucket(server), b"content"
    try:
        with FaultyS3(server.endpoint) as proxy:
            for variable, value in environment(server, proxy.endpoint).items():
                monkeypatch.setenv(variable, value)
            proxy.faults.append(Fault(not_implemented(), method="PUT"))
            bucket = MinioBucket("", name)
            assert bucket.write("key", content, Digest(hashlib.sha256(content).hexdigest()), only_new=True)
            asked = [("if-none-match" in one.headers, one.status) for one in proxy.requests("PUT", "/key")]
            assert asked == [(True, 501), (False, 200)]
            assert bucket.stat("key").size == len(content)
            assert not bucket.write("key", content, Digest(hashlib.sha256(content).hexdigest()), only_new=True)
    finally:
        seaweed.delete_bucket(server, name)
