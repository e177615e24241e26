"""What the Hub answers, and what becomes of it: the real client against a server that misbehaves."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import (
    AccessDenied,
    InvalidInput,
    NotFound,
    ProvisionError,
    Unavailable,
    Unusable,
    UsageError,
)
from provisioner.model import RepoId, Revision
from provisioner.ports.events import Event, Retrying
from provisioner.sources.hub_api import HubApi, RemoteSnapshot
from tests.support.tiny_hub import Reply, TinyHub

TOKEN = "hf_secretsecretsecret"
INVALID_TOKEN = {"X-Error-Message": "Invalid credentials in Authorization header"}
DISABLED = {"X-Error-Message": "Access to this resource is disabled."}
REPO, MAIN = RepoId("org/model"), Revision("main")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with TinyHub() as server:
        server.add("org/model", {"config.json": {}, "model.safetensors": b"w"})
        yield server


def snapshot(hub: TinyHub, revision: str = "main", **more: Any) -> RemoteSnapshot:
    return HubApi(hub.url, attempts=3, sleep=lambda _: None, **more).snapshot(REPO, Revision(revision))


def test_the_listing(hub: TinyHub) -> None:
    found = snapshot(hub)
    assert (found.commit, found.name, found.license) == (hub.repos["org/model"].commit, "org/model", None)
    config, weights = found.files
    assert (config.path, config.size, config.sha256) == ("config.json", 2, None)
    assert (weights.path, weights.size) == ("model.safetensors", 1)
    assert weights.sha256 is not None


@pytest.mark.parametrize(
    ("card", "tags", "expected"),
    [
        ({"license": "apache-2.0"}, ["license:mit"], "apache-2.0"),
        ({"license": ["mit", "cc-by-4.0"]}, [], "mit, cc-by-4.0"),
        ({"license": "other", "license_name": "llama3"}, [], "other (llama3)"),
        ({}, ["x", "license:mit"], "mit"),
        ({"license": "bad\x1b[31m\n"}, [], "bad[31m"),
        ({"license": {"a": 1}}, [], "{'a': 1}"),
    ],
)
def test_the_licence_as_the_card_gives_it(hub: TinyHub, card: dict[str, Any], tags: list[str], expected: str) -> None:
    hub.repos["org/model"].card, hub.repos["org/model"].tags = card, tags
    assert snapshot(hub).license == expected


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(403, headers={"X-Error-Code": "GatedRepo"}), AccessDenied, "/org/model and set HF_TOKEN"),
        (Reply(401, headers={"X-Error-Code": "GatedRepo"}), AccessDenied, "Accept its terms"),
        (Reply(401, headers={"X-Error-Code": "RepoNotFound"}), NotFound, "set HF_TOKEN"),
        (Reply(401), AccessDenied, "HF_TOKEN"),
        (Reply(401, headers=INVALID_TOKEN), AccessDenied, "HF_TOKEN"),
        (Reply(403), AccessDenied, "HF_TOKEN"),
        (Reply(403, headers=DISABLED), AccessDenied, "another model"),
        (Reply(404, headers={"X-Error-Code": "RevisionNotFound"}), NotFound, "Name a branch"),
        (Reply(404), NotFound, "Check the name"),
        (Reply(410), NotFound, "Check the name"),
        (Reply(400), Unusable, "HF_ENDPOINT"),
        (Reply(418), Unusable, "HF_ENDPOINT"),
        (Reply(200, b"<html>a proxy's login page</html>"), Unusable, "HF_ENDPOINT"),
        (Reply(200, b"[]"), Unusable, "HF_ENDPOINT"),
        (Reply(200, b"{}"), Unusable, "HF_ENDPOINT"),
        (Reply(200, b'{"id": "x", "sha": "main"}'), Unusable, "HF_ENDPOINT"),
    ],
)
def test_failures_that_no_retry_mends(hub: TinyHub, reply: Reply, kind: type[ProvisionError], words: str) -> None:
    hub.always("/api/", reply)
    with pytest.raises(kind) as caught:
        snapshot(hub)
    assert words in caught.value.hint
    assert not caught.value.retryable
    assert len(hub.asked) == 1
    assert TOKEN not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again(hub: TinyHub, status: int) -> None:
    hub.times(2, "/api/", Reply(status))
    seen: list[Event] = []
    assert snapshot(hub, observer=seen.append).files
    assert [event.attempt for event in seen if isinstance(event, Retrying)] == [1, 2]


def test_a_hub_that_stays_busy_is_unavailable_with_its_wait(hub: TinyHub) -> None:
    hub.always("/api/", Reply(429, headers={"Retry-After": "7"}))
    waits: list[float] = []
    with pytest.raises(Unavailable, match="429") as caught:
        HubApi(hub.url, attempts=3, sleep=waits.append).snapshot(REPO, MAIN)
    assert (caught.value.retry_after, waits, len(hub.asked)) == (7.0, [7.0, 7.0], 3)


def test_the_rate_limit_header_of_the_hub_is_understood(hub: TinyHub) -> None:
    hub.always("/api/", Reply(429, headers={"RateLimit": '"api";r=0;t=300'}))
    waits: list[float] = []
    with pytest.raises(Unavailable) as caught:
        HubApi(hub.url, attempts=2, sleep=waits.append).snapshot(REPO, MAIN)
    assert (caught.value.retry_after, waits) == (300.0, [300.0])


@pytest.mark.parametrize(("asked", "most"), [("86400", 900.0), ("²", 1.0)])
def test_a_wait_that_is_too_long_or_means_nothing(hub: TinyHub, asked: str, most: float) -> None:
    hub.times(1, "/api/", Reply(429, headers={"Retry-After": asked}))
    waits: list[float] = []
    assert HubApi(hub.url, attempts=2, sleep=waits.append).snapshot(REPO, MAIN).files
    assert most / 2 <= waits[0] <= most


def test_nothing_listens_there() -> None:
    with socket.socket() as taken, pytest.raises(Unavailable, match="does not answer") as caught:
        taken.bind(("127.0.0.1", 0))  # and no listen
        HubApi(f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}", attempts=1).snapshot(REPO, MAIN)
    assert "secret" not in str(caught.value)
    assert caught.value.retryable


@pytest.mark.parametrize(
    "endpoint", ["hub.example.org", "ftp://hub", "http://", "http://host:99999", "http://[bad", "http://h:port"]
)
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a Hub"):
        HubApi(endpoint)


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a\\b", "a/../b", "con.json", "a\x00b", ""])
def test_a_hostile_path_is_none_of_the_files(hub: TinyHub, path: str) -> None:
    _list(hub, {"rfilename": path, "size": 1, "blobId": "0" * 40}, {"rfilename": "a", "size": 1, "blobId": "0" * 40})
    found = snapshot(hub)
    assert [file.path for file in found.files] == ["a"]
    assert [name for name, why in found.unsafe if why] == [path]


@pytest.mark.parametrize("path", [7, None])
def test_a_path_that_is_no_text_is_refused(hub: TinyHub, path: Any) -> None:
    _list(hub, {"rfilename": path, "size": 1, "blobId": "0" * 40})
    with pytest.raises(InvalidInput) as caught:
        snapshot(hub)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"rfilename": "a", "size": 1, "blobId": "xyz"},
        {"rfilename": "a", "size": 1, "blobId": "0" * 40, "lfs": {"sha256": "no", "size": 1, "pointerSize": 1}},
        {"rfilename": "a", "size": -1, "blobId": "0" * 40},
        {"rfilename": "a", "blobId": "0" * 40},
    ],
)
def test_a_listing_without_digests_or_sizes_is_refused(hub: TinyHub, entry: dict[str, Any]) -> None:
    _list(hub, entry)
    with pytest.raises((InvalidInput, Unusable), match=r"no (size|valid digest) for a"):
        snapshot(hub)


def test_a_path_listed_twice_is_refused(hub: TinyHub) -> None:
    _list(hub, *[{"rfilename": "a", "size": 1, "blobId": "0" * 40}] * 2)
    with pytest.raises(InvalidInput, match="a path twice"):
        snapshot(hub)


def test_an_empty_repository(hub: TinyHub) -> None:
    _list(hub)
    with pytest.raises(NotFound, match="has no files"):
        snapshot(hub)


def test_another_commit_than_the_one_asked_for_is_refused(hub: TinyHub) -> None:
    hub.always("/api/", Reply(200, json.dumps(hub.repos["org/model"].info()).encode()))
    with pytest.raises(InvalidInput, match="answers with commit"):
        snapshot(hub, "b" * 40)


def test_the_token_stays_with_its_own_origin(hub: TinyHub) -> None:
    with TinyHub(hub.repos["org/model"]) as other:
        hub.always("/api/", Reply(307, headers={"Location": f"{other.url}/api/models/org/model/revision/main"}))
        assert snapshot(hub).files
        assert hub.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
        assert "authorization" not in other.asked[0].headers


def test_the_environment_is_read_when_it_is_needed(hub: TinyHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    assert HubApi(attempts=1).snapshot(REPO, MAIN).files


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody knows."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    path = tmp_path / "both.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([openssl, *words.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_private_ca_is_trusted_when_it_is_named(
    hub: TinyHub, certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with TinyHub(hub.repos["org/model"], tls=context) as secure:
        with pytest.raises(Unusable, match=r"certificate of 127\.0\.0\.1 is not trusted"):
            snapshot(secure)
        monkeypatch.setenv(name, f"{certificate}.crt")
        assert snapshot(secure).files


def test_offline_mode_is_said_plainly(hub: TinyHub) -> None:
    script = (
        "from provisioner.sources.hub_api import HubApi\n"
        "from provisioner.errors import Unusable\n"
        f"try:\n    HubApi({hub.url!r}).snapshot('org/model', 'main')\n"
        "except Unusable as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"HF_HUB_OFFLINE": "1", "PATH": ""}, capture_output=True, text=True
    )
    assert done.stdout == "HF_HUB_OFFLINE is set.\n", done.stderr
    assert hub.asked == []


def _list(hub: TinyHub, *siblings: dict[str, Any]) -> None:
    listing = hub.repos["org/model"].info() | {"siblings": list(siblings)}
    hub.always("/api/", Reply(200, json.dumps(listing).encode()))
