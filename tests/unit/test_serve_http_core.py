"""What every request passes before it is answered, over real sockets."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provisioner.serve.http import body
from tests.support.http_core import MARK, PATIENCE_S, Core, answer, closed, serving, small, wait_for
from tests.support.serve_engines import Gated

HEAD = b"POST /embed HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"texts": ["a"]}).encode()


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    """A request has all the time that a test takes."""
    with serving(limits=small(body=4096, body_seconds=PATIENCE_S)) as running:
        yield running


@pytest.fixture(scope="module")
def hurried() -> Iterator[Core]:
    with serving(limits=small(body_seconds=0.3)) as running:
        yield running


@pytest.fixture
def gated() -> Iterator[Core]:
    with serving(Gated(), limits=small(concurrent=2, body=4096)) as running:
        yield running


def samples(core: Core) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = core.ask("GET", "/metrics").body.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(core: Core, name: str, **labels: str) -> float:
    return samples(core).get((f"provision_serve_{name}", frozenset(labels.items())), 0.0)


# Ids


def test_an_id_is_made_and_sent_back_and_is_in_the_log(core: Core) -> None:
    found = core.embed("a").headers["x-request-id"]
    assert len(found) == 32
    line = core.line(request_id=found)
    assert (line["method"], line["route"], line["status"], line["texts"]) == ("POST", "/embed", 200, 1)
    assert line["client"] == "127.0.0.1"


@pytest.mark.parametrize("given", ["a", "Trace-1.b_2", "x" * 128])
def test_an_id_that_can_be_one_is_kept(core: Core, given: str) -> None:
    assert core.embed("a", X_Request_ID=given).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a;b", "é", '"', "a\tb"])
def test_an_id_that_cannot_be_one_is_replaced(core: Core, given: str) -> None:
    found = core.embed("a", X_Request_ID=given).headers["x-request-id"]
    assert found != given
    assert len(found) == 32


def test_a_refusal_names_the_id(core: Core) -> None:
    refused = core.ask("POST", "/embed", b"{", X_Request_ID="mine")
    assert refused.json["request_id"] == refused.headers["x-request-id"] == "mine"


# Bodies


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(core: Core) -> None:
    with core.raw(HEAD + b"Content-Length: 4097\r\nExpect: 100-continue\r\n\r\n") as connection:
        refused = answer(connection)
    assert (refused.status, refused.headers["connection"]) == (413, "close")
    assert "4096 bytes" in refused.json["error"]


def test_a_body_that_is_too_large_is_counted_while_it_comes(core: Core) -> None:
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    with core.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + 5 * chunk) as connection:
        assert answer(connection).status == 413


def test_a_body_of_just_the_limit_is_read(core: Core) -> None:
    whole = BODY + b" " * (4096 - len(BODY))
    assert core.ask("POST", "/embed", whole).status == 200
    assert core.ask("POST", "/embed", whole + b" ").status == 413


def test_who_sends_everything_before_it_reads_is_not_cut_off(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_LINGER", PATIENCE_S)  # ends with the body
    with core.raw(HEAD + b"Content-Length: 8000\r\n\r\n" + b" " * 2000) as connection:
        connection.recv(1, socket.MSG_PEEK)  # refused already, and the connection would be closed now
        for _ in range(6):
            time.sleep(0.01)
            connection.sendall(b" " * 1000)
        assert answer(connection).status == 413
        assert closed(connection)


def test_an_endless_body_is_cut_off(core: Core) -> None:
    with core.raw(HEAD + b"Content-Length: 99999999999\r\n\r\n") as connection:
        assert answer(connection).status == 413
        with pytest.raises(OSError):
            for _ in range(1000):
                connection.sendall(b" " * 65536)


def test_chunks_are_put_together(core: Core) -> None:
    parts = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY)
    with core.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n") as connection:
        assert answer(connection).status == 200


@pytest.mark.parametrize("length", [b"Content-Length: 30", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_given_up(hurried: Core, length: bytes) -> None:
    with hurried.heard(HEAD + length + b"\r\n\r\n") as connection:
        refused = answer(connection)
        assert closed(connection)
    assert refused.status == 408
    assert "0.3 seconds" in refused.json["error"]


def test_a_client_that_leaves_in_the_middle_of_its_body_is_noted(core: Core) -> None:
    with core.raw(HEAD + b"X-Request-ID: left\r\nContent-Length: 30\r\n\r\n{"):
        pass
    assert core.line(request_id="left", status=499)["client_closed"] is True


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_compressed_bodies_are_refused(core: Core, encoding: str) -> None:
    refused = core.ask("POST", "/embed", BODY, Content_Encoding=encoding)
    assert (refused.status, refused.headers["accept-encoding"]) == (415, "identity")


def test_the_identity_is_no_compression(core: Core) -> None:
    assert core.ask("POST", "/embed", BODY, Content_Encoding="identity").status == 200


HOSTILE = {
    "empty": b"",
    "cut": b'{"texts": ["a"',
    "no object": b"[1]",
    "not UTF-8": b'{"texts": ["\xff\xfe"]}',
    "deep": b"[" * 2000 + b"]" * 2000,
    "deep in a field": b'{"texts": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "NaN": b'{"texts": ["a"], "dimensions": NaN}',
    "huge integer": b'{"texts": ["a"], "dimensions": ' + b"9" * 3000 + b"}",
    "huge float": b'{"texts": ["a"], "dimensions": 1e999}',
    "lone surrogate": b'{"texts": ["\\ud800"]}',
    "null": b"null",
    "form": b"texts=a",
}


@pytest.mark.parametrize(
    "path", ["/embed", "/rerank", "/v1/embeddings", "/encoder/bi-encoder-embed", "/", "/similarity"]
)
@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_request_is_refused_as_one(core: Core, path: str, sent: bytes) -> None:
    refused = core.ask("POST", path, sent)
    assert 400 <= refused.status < 500
    assert refused.headers["content-type"].startswith("application/json")


def test_of_a_key_that_is_there_twice_one_counts(core: Core) -> None:
    assert core.ask("POST", "/embed", b'{"texts": ["a"], "texts": ["b", "c"]}').status == 200


# Room


def test_more_requests_than_may_be_at_work_are_refused(gated: Core) -> None:
    engine = gated.engine
    assert isinstance(engine, Gated)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(gated.embed, text) for text in ("a", "b")]
        wait_for(lambda: gated.app.gate.at_work == 2)
        refused = gated.embed("c")
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert gated.ask("GET", "/status.json").status == 200
        engine.free()
        assert [one.result().status for one in first] == [200, 200]
    assert gated.embed("d").status == 200
    assert value(gated, "refused_total", kind="overloaded") == 1
    wait_for(lambda: gated.app.gate.at_work == 0 and gated.app.gate.held == 0)


def test_nothing_is_answered_before_the_models_are_there() -> None:
    with serving(ready=False) as core:
        refused = core.embed("a")
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        core.backend.ready(0.5)
        assert core.embed("a").status == 200


# The client's end, and time


def test_work_ends_when_its_client_goes_away(gated: Core) -> None:
    engine = gated.engine
    assert isinstance(engine, Gated)
    texts = json.dumps({"texts": [f"text {index}" for index in range(40)]}).encode()
    connection = gated.raw(HEAD + b"X-Request-ID: gone\r\nContent-Length: %d\r\n\r\n" % len(texts) + texts)
    engine.begun()
    connection.close()
    line = gated.line(request_id="gone", status=499)
    assert line["client_closed"] is True
    wait_for(lambda: gated.app.gate.at_work == 0)
    engine.free()
    assert gated.embed("last").status == 200
    assert sum(map(len, engine.batches)) < 40


def test_a_reset_is_the_same(gated: Core) -> None:
    engine = gated.engine
    assert isinstance(engine, Gated)
    connection = gated.raw(HEAD + b"X-Request-ID: reset\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)
    engine.begun()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    gated.line(request_id="reset", status=499)


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    with serving(Gated(), limits=small(seconds=0.2)) as core:
        refused = core.embed("a")
    assert refused.status == 504
    assert "0.2 seconds" in refused.json["error"]


def test_a_connection_serves_one_request_after_another(core: Core) -> None:
    asked = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with core.raw() as connection:
        for _ in range(3):
            connection.sendall(asked)
            assert answer(connection).status == 200


def test_requests_may_be_pipelined(core: Core) -> None:
    probes = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n" * 5
    with core.raw(probes + b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n") as connection:
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"200 OK") == 6


# The token

KEY = "sésame-öffne"


@pytest.fixture(scope="module")
def locked() -> Iterator[Core]:
    with serving(api_key=KEY) as running:
        yield running


@pytest.mark.parametrize(
    "path", ["/embed", "/rerank", "/v1/embeddings", "/encoder/cross-encoder-scores", "/", "/nowhere"]
)
def test_work_wants_the_token(locked: Core, path: str) -> None:
    refused = locked.ask("POST", path, {})
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["content-type"] == "application/json"


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer x", f"Basic {KEY}", KEY, f"Bearer {KEY}x"])
def test_another_token_is_none(locked: Core, given: str) -> None:
    assert locked.embed("a", Authorization=given.encode().decode("latin-1")).status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_opens(locked: Core, scheme: str) -> None:
    assert locked.embed("a", Authorization=f"{scheme} {KEY}".encode().decode("latin-1")).status == 200


@pytest.mark.parametrize(
    "path", ["/health", "/healthz", "/readyz", "/api/health", "/metrics", "/", "/docs", "/openapi.json", "/status.json"]
)
def test_probes_scrapes_and_pages_want_no_token(locked: Core, path: str) -> None:
    assert locked.ask("GET", path).status == 200


def test_all_else_wants_it(locked: Core) -> None:
    assert locked.ask("GET", "/v1/models").status == 401
    assert locked.ask("GET", "/nowhere").status == 401
    assert locked.ask("POST", "/health", b"").status == 401


# Probes and draining


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_alive_while_loading_and_while_draining(path: str) -> None:
    with serving(ready=False) as core:
        assert core.ask("GET", path).status == 200
        core.app.gate.drain()
        assert core.ask("GET", path).status == 200
        assert core.ask("HEAD", path).body == b""


def test_ready_only_between_loading_and_draining() -> None:
    with serving(ready=False) as core:
        loading = core.ask("GET", "/readyz")
        assert (loading.status, loading.body) == (503, b"The models are being loaded.\n")
        core.backend.ready(0.5)
        assert core.ask("GET", "/readyz").status == core.ask("HEAD", "/readyz").status == 200
        core.app.gate.drain()
        assert core.ask("GET", "/readyz").status == core.ask("HEAD", "/readyz").status == 503


def test_a_server_that_drains_answers_and_ends_its_connections() -> None:
    with serving() as core, core.raw() as connection:
        core.app.gate.drain()
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        last = answer(connection)
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert closed(connection)


# Addresses


def test_nothing_at_an_address(core: Core) -> None:
    missing = core.ask("GET", f"/{MARK}?{MARK}")
    assert missing.status == 404
    assert MARK.encode() not in missing.body
    assert core.ask("GET", "/embed/").status == 404


def test_another_method(core: Core) -> None:
    refused = core.ask("GET", "/embed")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert core.ask("DELETE", "/embed").status == 405


def test_the_documents_load_nothing_from_elsewhere(core: Core) -> None:
    page = core.ask("GET", "/docs").body.decode()
    assert "/v1/embeddings" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_every_operation_declares_what_comes_before_it(core: Core) -> None:
    document = core.ask("GET", "/openapi.json").json
    for path, methods in document["paths"].items():
        if "post" in methods:
            declared = methods["post"]["responses"]
            assert {"401", "408", "413", "415", "422", "429", "500", "503", "504"} <= declared.keys(), path
            assert all(declared[status]["content"] for status in ("401", "413", "429"))
    assert "HTTPValidationError" not in json.dumps(document["paths"])


# What is kept


def test_no_text_is_in_a_log_or_a_metric() -> None:
    engine = Gated()
    engine.free()
    with serving(engine, api_key="sesame", limits=small(characters=200, texts=3, body=4096)) as core:
        for path, wrong in _everything_wrong():
            core.ask("POST", f"{path}?{MARK}", wrong, Authorization="Bearer sesame", X_Other=MARK)
            core.ask("POST", f"{path}?{MARK}", wrong, Authorization=f"Bearer {MARK}")
        core.ask("POST", "/embed", MARK.encode(), Content_Encoding=MARK, Authorization="Bearer sesame")
        core.ask("GET", f"/page/{MARK}/{MARK}")
        with core.raw(f"POST /embed HTTP/1.1\r\nContent-Length: {MARK}\r\n\r\n".encode()) as connection:
            assert b"400" in connection.recv(65536)
        with core.raw(f"{MARK} /embed HTTP/1.1\r\n\r\n".encode()) as connection:
            assert b"400" in connection.recv(65536)
        seen = {line.get("status") for line in core.lines}
        assert {200, 400, 401, 404, 413, 415, 422, 500} <= seen
        scraped = core.ask("GET", "/metrics").body.decode() + core.ask("GET", "/status.json").body.decode()
        logged = core.log.getvalue()
    assert MARK not in logged
    assert "sesame" not in logged
    assert MARK not in scraped
    assert "Traceback" not in logged


def _everything_wrong() -> Iterator[tuple[str, object]]:
    poison = f"poison {MARK}"  # the engine fails on it, and says what it was
    yield "/embed", {"texts": [MARK]}
    yield "/embed", {"texts": [poison]}
    yield "/embed", {"texts": [MARK] * 4}
    yield "/embed", {"texts": [MARK * 20]}
    yield "/embed", {"texts": [{MARK: MARK}]}
    yield "/embed", {"texts": MARK, MARK: MARK}
    yield "/embed", {"texts": [MARK], "model": MARK}
    yield "/embed", {"inputs": [MARK], "prompt_name": MARK}
    yield "/embed", {"inputs": MARK * 300}
    yield "/rerank", {"query": MARK, "documents": MARK}
    yield "/rerank", {"query": MARK, "texts": [MARK], "raw_scores": MARK}
    yield "/v1/embeddings", {"input": MARK, "model": MARK, "encoding_format": MARK}
    yield "/v1/embeddings", {"input": [poison], "model": "org/embedder"}
    yield "/encoder/bi-encoder-embed", {"texts": [MARK], "text_type": MARK}
    yield "/encoder/bi-encoder-embed", {"texts": [poison], "text_type": "query"}
    yield "/similarity", {"inputs": {"source_sentence": MARK, "sentences": [poison]}}
    yield "/embed", f'{{"texts": ["{MARK}'.encode()
    yield "/embed", MARK.encode() * 300
    yield f"/{MARK}", {}
    yield f"/v1/models/{MARK}", {}


def test_an_engine_that_fails_is_answered_with_500_and_the_place_is_logged() -> None:
    engine = Gated()
    engine.free()
    with serving(engine) as core:
        refused = core.embed(f"poison {MARK}")
        assert refused.status == 500
        assert MARK.encode() not in refused.body
        assert core.embed("a").status == 200
        assert "RuntimeError" in core.log.getvalue()
        assert value(core, "engine_failures_total", task="embed") == 1


def test_a_bug_is_answered_with_500_in_the_shape_asked_and_its_trace_is_logged() -> None:
    with serving() as core:

        async def fail(*_: object) -> None:
            raise ValueError(f"no {MARK}") from KeyError(MARK)

        core.backend.embed = fail  # type: ignore[method-assign,assignment]
        refused = core.embed("a")
        assert refused.status == 500
        trace = core.line(request_id=refused.headers["x-request-id"], level="error")["trace"]
        assert trace[0] == "ValueError"
        assert "KeyError" in trace
        assert any("test_serve_http_core.py" in frame for frame in trace)
        assert core.ask("POST", "/v1/embeddings", {"input": "a", "model": "org/embedder"}).json["error"]["message"]
    assert MARK not in core.log.getvalue()


def test_probes_and_scrapes_are_logged_only_for_who_debugs(core: Core) -> None:
    for path in ("/healthz", "/metrics"):
        found = core.ask("GET", path).headers["x-request-id"]
        assert core.line(request_id=found)["level"] == "debug"


# Numbers


def test_requests_are_counted_by_route_method_and_status() -> None:
    with serving() as core:
        core.embed("a", "bc")
        core.ask("POST", "/embed", b"{")
        core.ask("GET", "/nowhere")
        core.ask("GET", "/elsewhere")
        assert value(core, "requests_total", route="/embed", method="POST", status="200") == 1
        assert value(core, "requests_total", route="/embed", method="POST", status="422") == 1
        assert value(core, "requests_total", route="other", method="GET", status="404") == 2
        assert value(core, "request_duration_seconds_count", route="/embed") == 2
        assert value(core, "texts_total", task="embed") == 2
        assert value(core, "tokens_total", task="embed") == 3
        assert value(core, "batch_size_texts_sum", task="embed", lane="query") == 2
        assert value(core, "queue_wait_seconds_count", task="embed", lane="query") == 2
        assert value(core, "engine_run_seconds_count", task="embed", lane="query") == 1
        assert value(core, "refused_total", kind="validation") == 1


def test_what_is_served_is_told() -> None:
    with serving() as core:
        found = samples(core)
    infos = {name: dict(labels) for name, labels in found if name == "provision_serve_info"}
    assert infos["provision_serve_info"]["release"] == "7f3c9a1b2d4e"
    assert infos["provision_serve_info"]["tree"] == "7f" * 32
    assert infos["provision_serve_info"]["lock"] == "c1" * 32
    assert infos["provision_serve_info"]["role"] == "inference"
    models = [dict(labels) for name, labels in found if name == "provision_serve_model_info"]
    assert {one["task"]: (one["repo"], one["precision"]) for one in models} == {
        "embed": ("org/embedder", "fp32"),
        "rerank": ("org/reranker", "fp32"),
    }
    assert found[("process_resident_memory_bytes", frozenset())] > 0
    assert (
        found[("provision_serve_model_load_seconds", frozenset({("task", "embed"), ("repo", "org/embedder")}))] == 0.25
    )


def test_strange_methods_and_paths_make_no_series_of_their_own() -> None:
    with serving() as core:
        before = len(samples(core))
        for index in range(30):
            core.ask("GET", f"/path-{index}")
            core.ask("PROPFIND" if index % 2 else "MKCOL", "/embed")
        after = len(samples(core))
        assert value(core, "requests_total", route="/embed", method="other", status="405") == 30
        for index in range(30, 60):
            core.ask("GET", f"/path-{index}")
        assert len(samples(core)) == after > before


def test_open_metrics_are_given_to_who_asks_for_them(core: Core) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    scraped = core.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert scraped.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "provision_serve_requests" for family in parse(scraped.body.decode()))


def test_the_page_has_the_last_minutes() -> None:
    with serving() as core:
        for _ in range(5):
            core.embed("a")
        latencies = core.ask("GET", "/status.json").json["latencies"]
    points = {route["route"]: route["points"] for route in latencies["routes"]}["/embed"]
    assert sum(point["requests"] for point in points) == 5
    assert all(0 < point["p50_ms"] <= point["p99_ms"] for point in points)


def test_many_at_once_are_all_answered(core: Core) -> None:
    barrier = threading.Barrier(16)

    def ask(index: int) -> int:
        barrier.wait()
        return sum(core.embed(f"{index} {number}").status == 200 for number in range(10))

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 160
