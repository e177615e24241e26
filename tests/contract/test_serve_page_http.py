"""The page, its files and `/status.json` as HTTP, without a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from provisioner.serve.settings import Role
from tests.support.serve_page import ABOUT, EMBEDDER, LOADING, PATIENCE_S, READY, States, application, listening

HOSTILE = '"><img src=x onerror="alert(1)"><script>alert(2)</script>&amp;${name}\'; rm -rf /'


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
def client(states: States) -> Iterator[httpx.Client]:
    with listening(application(states)) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        yield client


class Tags(HTMLParser):
    """Every element with its attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_the_page_allows_nothing_but_its_own_files(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_nothing_in_the_page_is_inline_or_absolute(client: httpx.Client) -> None:
    for tag, attributes in parsed(client.get("/").text).tags:
        assert tag != "style" and "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert tag != "script" or attributes.get("src")
        for name in ("href", "src", "action"):
            assert re.fullmatch(r"#\w+|[\w./-]+", attributes.get(name) or "x"), attributes
            assert not (attributes.get(name) or "x").startswith("/")


def test_the_page_is_asked_again_and_its_files_are_kept_for_good(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    types = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    for address in re.findall(r'(?:href|src)="(page/[^"]+)"', page.text):
        answer = client.get(f"/{address}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == types[address.rpartition(".")[2]]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get(f"/{address}", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_files_of_another_version_are_sent_but_not_kept(client: httpx.Client) -> None:
    """Replicas of two versions stand behind one address while they are rolled out."""
    answer = client.get("/page/0123456789abcdef/page.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "page.html", "..%2f__init__.py", "..", "%2e%2e/routes.py"])
def test_there_are_no_other_files(client: httpx.Client, name: str) -> None:
    assert client.get(f"/page/0/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_the_status_has_every_fact(client: httpx.Client) -> None:
    answer = client.get("/status.json")
    assert answer.headers["cache-control"] == "no-store"
    status = answer.json()
    latencies = status.pop("latencies")
    assert latencies.keys() == {"now", "window_seconds", "step_seconds", "routes"}
    assert latencies["routes"] == []
    release, models = status.pop("release"), status.pop("models")
    assert status == {"ready": True, "detail": "", "role": "inference", "version": "1.2.3", "start_seconds": 1.31}
    assert release == {
        "release": "7f3c9a1b2d4e",
        "tree": "7f3c9a1b2d4e" + "5" * 52,
        "lock": "c" * 64,
        "created": "2026-05-02T10:11:12+00:00",
        "evidence": "recorded",
        "checked_at": "2026-05-03T01:02:03+00:00",
        "check_seconds": 0.031,
        "files": 19,
        "bytes": 90_868_376,
    }
    assert [model["task"] for model in models] == ["embed", "rerank"]
    assert models[0] == {
        "task": "embed",
        "repo": "org/embedder",
        "commit": "a" * 40,
        "aliases": ["org/embedder", "embedder"],
        "files": 11,
        "load_seconds": 0.41,
        "engine": "onnxruntime 1.31.1",
        "device": "cpu",
        "precision": "fp32",
        "threads": 2,
        "batches": 1,
        "dimensions": 8,
        "max_length": 256,
        "limit": 512,
        "normalized": True,
        "prompts": [],
        "default_prompt": None,
    }


def test_the_openapi_document_describes_the_status(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/status.json"]["get"]
    name = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert document["components"]["schemas"][name]["properties"].keys() == client.get("/status.json").json().keys()
    assert not [path for path in document["paths"] if path.startswith("/page/")]


def test_work_is_in_the_latencies_and_looking_is_not(client: httpx.Client) -> None:
    for _ in range(3):
        assert client.post("/embed", json={"texts": ["a"]}).status_code == 200
        client.get("/")
    assert client.post("/embed", json={"wrong": []}).status_code == 422
    (route,) = client.get("/status.json").json()["latencies"]["routes"]
    assert route["route"] == "/embed"
    assert sum(point["requests"] for point in route["points"]) == 3
    assert all(0 < point["p50_ms"] <= point["p99_ms"] for point in route["points"])


def test_before_the_models_are_there_it_says_so(client: httpx.Client, states: States) -> None:
    states.now = replace(LOADING, release=None)
    page, status = client.get("/"), client.get("/status.json")
    assert page.status_code == status.status_code == 200
    assert "Not ready" in page.text and "The models are being loaded." in page.text
    assert status.json()["ready"] is False and status.json()["release"] is None


def test_a_server_that_ends_says_so(states: States) -> None:
    app = application(states)
    with listening(app) as url:
        app.gate.drain()
        assert httpx.get(f"{url}/status.json", timeout=PATIENCE_S).json()["detail"] == "The server is ending."
        assert "The server is ending." in httpx.get(url, timeout=PATIENCE_S).text


def test_names_are_text(client: httpx.Client, states: States) -> None:
    about = replace(ABOUT, prompts=((HOSTILE, "x"),), default_prompt=HOSTILE, engine=HOSTILE)
    model = replace(EMBEDDER, repo=HOSTILE, aliases=(HOSTILE + "2",), about=about)
    release = replace(READY.release, release=HOSTILE, created=HOSTILE, evidence=HOSTILE)
    states.now = replace(READY, detail=HOSTILE, models=(model,), release=release, version=HOSTILE)
    plain = parsed(client.get("/", headers={"Host": "x"}).text)
    states.now = READY
    ordinary = parsed(client.get("/", headers={"Host": "x"}).text)
    assert {tag for tag, _ in plain.tags} <= {tag for tag, _ in ordinary.tags}
    assert [1 for tag, _ in plain.tags if tag == "script"] == [1]
    assert sum(HOSTILE in text for text in plain.text) >= 8


def test_a_host_is_text_too(client: httpx.Client) -> None:
    answer = client.get("/", headers={"Host": 'a"><script>x</script>'})
    assert "<script>x" not in answer.text


def test_without_a_reranker_a_sentence_says_why(client: httpx.Client, states: States) -> None:
    states.now = replace(READY, models=(EMBEDDER,))
    assert "This release has no model that reranks." in client.get("/").text
    states.now = replace(READY, role=Role.INDEXING)
    assert "This is the indexing server, which does not rerank." in client.get("/").text


def test_the_page_needs_no_key_and_work_does(states: States) -> None:
    app = application(states, api_key="secret")
    with listening(app) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        page = client.get("/")
        files = re.findall(r'(?:href|src)="(page/[^"]+)"', page.text)
        assert [client.get(f"/{path}").status_code for path in ("", "status.json", *files)] == [200] * (2 + len(files))
        assert client.post("/embed", json={"texts": ["a"]}).status_code == 401
        assert "secret" not in page.text
