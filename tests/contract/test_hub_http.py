"""The endpoint's HTTP, as any client sees it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from provisioner.errors import UsageError
from provisioner.hub import running
from tests.support.hub_fixture import git_blob_id, make, publish, store
from tests.support.patience import PATIENCE

DATA = bytes(range(256)) * 10_000  # more than one chunk
MODEL = make(
    "org/model",
    {"config.json": b"{}", "empty.txt": b"", "model.safetensors": DATA, "folder/deep/file.txt": b"deep"},
    license="<b>mit</b>",
)
COMMIT = str(MODEL.model.commit)
WEIGHTS = "/org/model/resolve/main/model.safetensors"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store")
    publish(root, MODEL)
    (root.parent / "outside.txt").write_text("secret")
    return root


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with running(store(root)) as url:
        yield url


@pytest.fixture(scope="module")
def http() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False) as manager:
        yield manager


def test_headers_of_an_lfs_file(url: str, http: urllib3.PoolManager) -> None:
    for method in ("HEAD", "GET"):
        reply = http.request(method, url + WEIGHTS)
        assert reply.status == 200
        assert reply.headers["x-repo-commit"] == COMMIT
        assert reply.headers["etag"] == reply.headers["x-linked-etag"] == f'"{SHA256}"'
        assert int(reply.headers["content-length"]) == int(reply.headers["x-linked-size"]) == len(DATA)
        assert reply.headers["accept-ranges"] == "bytes"
        assert not [name for name in reply.headers if "xet" in name.lower()]
        assert reply.data == (DATA if method == "GET" else b"")


def test_headers_of_a_small_file(url: str, http: urllib3.PoolManager) -> None:
    reply = http.request("GET", f"{url}/org/model/resolve/{COMMIT}/config.json")
    assert (reply.status, reply.data) == (200, b"{}")
    assert reply.headers["etag"] == f'"{git_blob_id(b"{}")}"'
    assert "x-linked-etag" not in reply.headers
    assert "x-linked-size" not in reply.headers


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=1048575-1048577", 1048575, 1048578),
        ("bytes=5-", 5, len(DATA)),
        ("bytes=-5", len(DATA) - 5, len(DATA)),
        (f"bytes=-{10**12}", 0, len(DATA)),
        (f"bytes=100-{10**12}", 100, len(DATA)),
        (f"bytes={len(DATA) - 1}-", len(DATA) - 1, len(DATA)),
    ],
)
def test_ranges(url: str, http: urllib3.PoolManager, asked: str, start: int, stop: int) -> None:
    reply = http.request("GET", url + WEIGHTS, headers={"Range": asked})
    assert (reply.status, reply.data) == (206, DATA[start:stop])
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(DATA)}"
    assert reply.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", [f"bytes={len(DATA)}-", f"bytes={10**12}-{10**13}", "bytes=-0"])
def test_ranges_behind_the_end(url: str, http: urllib3.PoolManager, asked: str) -> None:
    reply = http.request("GET", url + WEIGHTS, headers={"Range": asked})
    assert (reply.status, reply.data) == (416, b"")
    assert reply.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "asked", ["bytes=9-1", "bytes=a-b", "bytes=-", "lines=0-1", "bytes=0-0,5-9", "bytes 0-1", "0-1"]
)
def test_ranges_that_mean_nothing_are_ignored(url: str, http: urllib3.PoolManager, asked: str) -> None:
    reply = http.request("GET", url + WEIGHTS, headers={"Range": asked})
    assert (reply.status, reply.data) == (200, DATA)


def test_a_range_of_an_empty_file(url: str, http: urllib3.PoolManager) -> None:
    address = f"{url}/org/model/resolve/main/empty.txt"
    assert (http.request("GET", address).status, http.request("GET", address).data) == (200, b"")
    reply = http.request("GET", address, headers={"Range": "bytes=0-0"})
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize("tag", [f'"{SHA256}"', f'W/"{SHA256}"', f'"other", "{SHA256}"', "*"])
def test_not_modified(url: str, http: urllib3.PoolManager, tag: str) -> None:
    reply = http.request("GET", url + WEIGHTS, headers={"If-None-Match": tag})
    assert (reply.status, reply.data, reply.headers["etag"]) == (304, b"", f'"{SHA256}"')
    assert http.request("GET", url + WEIGHTS, headers={"If-None-Match": '"other"'}).status == 200


def test_a_range_of_other_bytes_gets_the_whole(url: str, http: urllib3.PoolManager) -> None:
    same = http.request("GET", url + WEIGHTS, headers={"Range": "bytes=1-2", "If-Range": f'"{SHA256}"'})
    other = http.request("GET", url + WEIGHTS, headers={"Range": "bytes=1-2", "If-Range": '"other"'})
    assert (same.status, other.status) == (206, 200)


@pytest.mark.parametrize(
    ("path", "code", "commit"),
    [
        ("/org/other/resolve/main/config.json", "RepoNotFound", None),
        ("/other/resolve/main/config.json", "RepoNotFound", None),
        ("/datasets/org/model/resolve/main/config.json", "RepoNotFound", None),
        ("/api/models/org/other", "RepoNotFound", None),
        ("/api/datasets/org/model", "RepoNotFound", None),
        ("/org/model/resolve/dev/config.json", "RevisionNotFound", None),
        ("/api/models/org/model/revision/dev", "RevisionNotFound", None),
        ("/api/models/org/model/revision/main/more", "RevisionNotFound", None),
        ("/api/models/org/model/tree/dev", "RevisionNotFound", None),
        ("/org/model/resolve/main/folder", "EntryNotFound", COMMIT),
        ("/org/model/resolve/main/", "EntryNotFound", COMMIT),
        ("/api/models/org/model/tree/main/config.json", "EntryNotFound", COMMIT),
        ("/org/model/resolve/main/a%0d%0aX-Injected:%20b", "EntryNotFound", COMMIT),
        ("/org/model/resolve/main/%ff%00%C3%A9", "EntryNotFound", COMMIT),
    ],
)
def test_errors(url: str, http: urllib3.PoolManager, path: str, code: str, commit: str | None) -> None:
    reply = http.request("GET", url + path)
    assert (reply.status, reply.headers["x-error-code"]) == (404, code)
    assert reply.headers.get("x-repo-commit") == commit
    assert reply.json() == {"error": reply.headers["x-error-message"]}
    assert "x-injected" not in reply.headers


def raw(url: str, target: str) -> tuple[int, bytes]:
    """A request whose path no client library has tidied up."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(reply.split()[1]), reply


@pytest.mark.parametrize(
    "place",
    [
        "../../../../../../../outside.txt",
        "..%2f..%2f..%2f..%2f..%2f..%2f..%2foutside.txt",
        "%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/outside.txt",
        "..%5c..%5coutside.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "folder/../config.json",
        "..%2f..%2f..%2f..%2f..%2frelease.json",
        "config.json%00.txt",
    ],
)
def test_nothing_outside_the_catalog_can_be_reached(url: str, place: str) -> None:
    for prefix in ("/org/model/resolve/main", "/", "/api/models/org/model/tree/main"):
        status, reply = raw(url, f"{prefix}/{place}")
        assert status == 404
        assert b"secret" not in reply
        assert b"root:" not in reply


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["/", WEIGHTS, "/api/repos/create", "/api/models/org/model/commit/main", "/api/models/org/model/preupload/main"],
)
def test_what_would_write_is_refused(url: str, http: urllib3.PoolManager, method: str, path: str) -> None:
    reply = http.request(method, url + path, body=b"{}")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


def test_a_page_of_the_tree_names_the_next(url: str, http: urllib3.PoolManager) -> None:
    found, address = [], f"{url}/api/models/org/model/tree/main?recursive=1&limit=2"
    while address:
        reply = http.request("GET", address)
        page = reply.json()
        assert 1 <= len(page) <= 2
        found += [entry["path"] for entry in page]
        address = reply.headers.get("link", "").removeprefix("<").removesuffix('>; rel="next"')
    assert found == sorted([*MODEL.content, "folder", "folder/deep"])


@pytest.mark.parametrize("cursor", ["%00", "é", "!!!!", "A", "//79"])
def test_a_cursor_of_somebody_else_does_no_harm(url: str, http: urllib3.PoolManager, cursor: str) -> None:
    reply = http.request("GET", f"{url}/api/models/org/model/tree/main", fields={"cursor": cursor, "limit": "x"})
    assert reply.status == 200


def test_paths_can_be_asked_for_as_json(url: str, http: urllib3.PoolManager) -> None:
    address = f"{url}/api/models/org/model/paths-info/main"
    reply = http.request("POST", address, json={"paths": ["folder", "config.json", 7, "", "../x"]})
    assert [(entry["type"], entry["path"]) for entry in reply.json()] == [
        ("directory", "folder"),
        ("file", "config.json"),
    ]
    for body in (b"", b"[", b"[1]", b'{"paths": 7}', b"\xff"):
        reply = http.request("POST", address, body=body, headers={"Content-Type": "application/json"})
        assert (reply.status, reply.json()) == (200, [])


def test_a_decoded_revision_is_understood(tmp_path: Path, http: urllib3.PoolManager) -> None:
    publish(tmp_path, make("org/pull", {"a/b.json": b"1"}, revision="refs/pr/1"))
    with running(store(tmp_path)) as url:
        for revision in ("refs%2Fpr%2F1", "refs/pr/1"):
            assert http.request("GET", f"{url}/org/pull/resolve/{revision}/a/b.json").data == b"1"
            assert http.request("GET", f"{url}/api/models/org/pull/revision/{revision}").status == 200
            assert len(http.request("GET", f"{url}/api/models/org/pull/tree/{revision}/a").json()) == 1


def test_the_page_for_people(url: str, http: urllib3.PoolManager) -> None:
    page = http.request("GET", url + "/")
    text = page.data.decode()
    assert page.headers["content-type"].startswith("text/html")
    for part in (f"export HF_ENDPOINT={url}", "org/model", COMMIT, f"{MODEL.model.size:,} B", "&lt;b&gt;mit"):
        assert part in text
    assert "<b>mit" not in text


def test_health(url: str, http: urllib3.PoolManager) -> None:
    assert http.request("GET", f"{url}/health").status == 200


def test_one_line_per_request(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="provisioner.hub")
    with running(store(root)) as url, urllib3.PoolManager() as http:
        address = f"{url}/org/model/resolve/main"
        http.request("GET", f"{address}/config.json?download=true", headers={"Authorization": "Bearer hf_secret"})
        http.request("GET", f"{address}/absent")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("127.0.0.1 'GET /org/model/resolve/main/config.json?download=true' 200 2 bytes ")
    assert "/absent' 404 " in lines[1]
    assert "hf_secret" not in caplog.text


def test_small_files_do_not_wait_for_acknowledgements(url: str) -> None:
    """Without TCP_NODELAY the body of every answer waits 40 ms; asyncio leaves it to the listener, uvloop does not."""
    parts = urlsplit(url)
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port)) as here:
        here.sendall(f"GET /health HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        assert here.recv(65536).startswith(b"HTTP/1.1 200")
        there = sockets_at(parts.port)
        try:
            told = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in there]
        finally:
            for one in there:
                one.close()
    assert len(told) >= 2, "the listener and our connection"
    assert all(told)


def sockets_at(port: int) -> list[socket.socket]:
    """Second handles of all that the server, which is in this process, has at its port."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed by another thread, or something else by now
            if os.readlink(entry).startswith("socket:"):
                found.append(handle(int(entry.name)))
    for other in [one for one in found if one.family != socket.AF_INET or one.getsockname()[1] != port]:
        found.remove(other)
        other.close()
    return found


def handle(number: int) -> socket.socket:
    """A second handle of a socket. Raises OSError where there is no socket."""
    second = os.dup(number)
    try:
        made = socket.socket(fileno=second)
        second = -1  # the socket closes it
        return made
    finally:
        if second >= 0:
            os.close(second)


def test_an_address_in_use(url: str, root: Path) -> None:
    port = urlsplit(url).port
    assert port
    with pytest.raises(UsageError, match=f"127.0.0.1:{port} is in use"), running(store(root), port=port):
        pass


def test_an_address_that_is_not_ours(root: Path) -> None:
    with pytest.raises(UsageError, match="Cannot listen"), running(store(root), host="192.0.2.1"):
        pass


def test_without_the_extra(root: Path) -> None:
    script = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from provisioner.hub import running\n"
        "from provisioner.errors import MissingExtra\n"
        "from tests.support.hub_fixture import store\n"
        "from pathlib import Path\n"
        "try:\n"
        "    running(store(Path(sys.argv[1]))).__enter__()\n"
        "except MissingExtra as error:\n"
        "    print(error.hint)\n"
    )
    here = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], cwd=here, capture_output=True, text=True, check=True
    )
    assert "'.[hub]'" in done.stdout


def test_stopping_closes_the_door(root: Path) -> None:
    with running(store(root)) as url, urllib3.PoolManager(retries=False) as http:
        assert http.request("GET", f"{url}/health").status == 200
        port = urlsplit(url).port
        assert port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def test_json_is_json(url: str, http: urllib3.PoolManager) -> None:
    reply = http.request("GET", f"{url}/api/models?full=true")
    assert [sorted(file["rfilename"] for file in model["siblings"]) for model in json.loads(reply.data)] == [
        sorted(MODEL.content)
    ]
