"""The byte transport against real sockets: proxies, redirects, bundles, and words for what goes wrong."""

from __future__ import annotations

import base64
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provisioner.errors import InvalidInput, Unavailable, Unusable
from provisioner.sources.hub import HubSource
from provisioner.transport.http import POOL, Http, tls_context, without_secrets
from tests.support.hub_fixture import make
from tests.support.locks import tree
from tests.support.patience import PATIENCE
from tests.support.tiny_hub import Asked, Reply, TinyHub

FILE = next(e.origin for e in tree(make("org/x", {"data.bin": b"0123456789"})).entries if e.origin)
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def serving(reply: Reply) -> TinyHub:
    hub = TinyHub()
    hub.always(".*", reply)
    return hub


@pytest.mark.parametrize("location", ["http://h:99999/", "http://[bad/", "http://user:secret@h:port/x", "ftp://h/"])
def test_a_redirect_to_what_is_no_url_is_left(location: str) -> None:
    with serving(Reply(302, headers={"Location": location})) as hub:
        with pytest.raises(Unusable) as caught:
            Http().get(hub.url, {})
        with pytest.raises(Unusable), HubSource(hub.url).open(FILE, 0, 10):
            pass
    assert "secret" not in str(caught.value)


def test_the_login_of_a_proxy_is_unquoted(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Reply(200, b"ok")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//us%3Aer:p%40ss@"))
        response, _ = Http().get("http://elsewhere.example/x", {})
        assert response.data == b"ok"
        given = proxy.asked[0].headers["proxy-authorization"]
    assert base64.b64decode(given.removeprefix("Basic ")) == b"us:er:p@ss"


@pytest.mark.parametrize("exempt", ["127.0.0.1", "127.0.0.1:{port}", "other:1,127.0.0.1:{port}", "*"])
def test_no_proxy_names_hosts_with_and_without_their_port(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    with serving(Reply(200, b"proxy")) as proxy, serving(Reply(200, b"direct")) as hub:
        monkeypatch.setenv("http_proxy", proxy.url)
        port = hub.url.rpartition(":")[2]
        monkeypatch.setenv("no_proxy", exempt.format(port=port))
        assert Http().get(hub.url, {})[0].data == b"direct"
        monkeypatch.setenv("no_proxy", "127.0.0.1:1")
        assert Http().get(hub.url, {})[0].data == b"proxy"


@pytest.mark.parametrize("proxy", ["http://[bad", "http://h:99999", "socks5://h:1"])
def test_an_address_that_is_no_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(InvalidInput, match="proxy"):
        Http().get("http://h.example/", {})


def test_every_job_keeps_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    """`--jobs 256` is allowed; a pool that is too small says so in the log for every connection it drops."""
    together = threading.Barrier(100)

    def wait(asked: Asked) -> Reply:
        together.wait(PATIENCE)
        return Reply(200, b"ok")

    hub = TinyHub()
    hub.hooks.append(wait)
    http = Http()

    def ask(_: int) -> bytes:
        return bytes(http.get(hub.url, {})[0].data)

    with hub, ThreadPoolExecutor(100) as pool, warnings.catch_warnings(), caplog.at_level("WARNING"):
        assert set(pool.map(ask, range(100))) == {b"ok"}
    assert [record for record in caplog.records if "pool is full" in record.getMessage()] == []
    assert POOL >= 256


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and no listen
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port} refuses"):
            Http().get(f"http://user:secret@127.0.0.1:{port}/", {})


def test_an_error_of_the_operating_system_stays_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As urllib3 raises it where it makes the socket itself: no more file descriptors, no such address family."""
    import urllib3

    def broken(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(urllib3.PoolManager, "request", broken)
    with pytest.raises(Unavailable) as caught, HubSource("http://127.0.0.1:9").open(FILE, 0, 10):
        pass
    assert caught.value.retryable


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_bundle_without_certificates_is_named(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "empty").write_text("")
    (tmp_path / "text").write_text("no certificate")
    for name in ("none", "empty", "text"):
        monkeypatch.setenv(variable, str(tmp_path / name))
        with pytest.raises(InvalidInput) as caught:
            tls_context()
        assert f"{variable} names {tmp_path / name}" in str(caught.value)


def test_what_is_no_url_shows_no_secret() -> None:
    assert without_secrets("http://user:secret@[bad/x?token=secret") == "http://[bad"
    assert without_secrets("https://user:secret@h:1/x?token=secret#y") == "https://h:1/x"
