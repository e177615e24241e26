"""What one client may take of the server that others need: places and memory."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.types import Message, Receive, Scope, Send

from provisioner.serve.http.admission import Gate
from provisioner.serve.http.failures import Guard
from provisioner.serve.http.ids import Ids
from provisioner.serve.http.routes import Paths
from provisioner.serve.http.stalled import Unstalled
from provisioner.serve.refusals import Busy
from tests.support.http_core import PATIENCE_S, Core, answer, serving, small, wait_for
from tests.support.serve_engines import Gated, Plain

MIB = 2**20
HEAD = b"POST /embed HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"texts": ["a"]}).encode()


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    with serving(limits=small(texts=8)) as running:
        yield running


# What is in a body

MANY = {
    "token lists": b'{"inputs": [' + b"[1]," * 200_000 + b"[1]]}",
    "empty texts": b'{"texts": [' + b'"",' * 200_000 + b'""]}',
    "texts with quotes": b'{"texts": [' + rb'"\"\\",' * 200_000 + b'""]}',
    "tokens": b'{"inputs": [' + b"1," * 200_000 + b"1]}",
    "texts and tokens": b'{"inputs": [' + b'[1], "a",' * 100_000 + b"[1]]}",
    "objects": b'{"inputs": [' + b"{}," * 200_000 + b"{}]}",
    "lists of lists": b'{"texts": [[' + b"[]," * 200_000 + b"[]]]}",
    "a field of another type": b'{"texts": ["a"], "model": [' + b"[]," * 200_000 + b"[]]}",
    "an object for a text": b'{"texts": ["a"], "model": {"a": [' + b"[]," * 200_000 + b"[]]}}",
}


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", MANY.values(), ids=MANY.keys())
def test_lists_are_counted_before_they_are_made(core: Core, body: bytes) -> None:
    with traced():
        refused = core.ask("POST", "/embed", body)
        peak = tracemalloc.get_traced_memory()[1]
    assert refused.status == 422
    assert peak < 5 * len(body)


def test_what_no_field_takes_is_passed_over_and_not_kept() -> None:
    engine = Gated()
    body = b'{"x": [' + b"[]," * 2_000_000 + b'[]], "inputs": ["a"]}'
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(engine) as core, traced(), core.raw(sent) as connection:
        engine.begun()
        at_work, peak = tracemalloc.get_traced_memory()
        engine.free()
        assert answer(connection).status == 200
    assert at_work < len(body) / 2
    assert peak < 5 * len(body)


def test_as_many_as_may_be_are_read_however_they_are_written(core: Core) -> None:
    texts = ['"quoted", [1], {2}', "\\", '\\"', "日本語, テキスト", "", "," * 5000, "]", "["]
    found = core.ask("POST", "/embed", {"texts": texts}).json["embeddings"]
    assert found == [core.embed(text).json["embeddings"][0] for text in texts]
    lists = [[index] * 1000 for index in range(8)]
    assert len(core.ask("POST", "/embed", {"inputs": lists}).json) == 8
    assert len(core.ask("POST", "/embed", {"inputs": [*lists[:4], *texts[:4]]}).json) == 8
    assert len(core.ask("POST", "/embed", {"inputs": list(range(5000))}).json) == 1
    assert core.ask("POST", "/embed", {"texts": [*texts, "one more"]}).status == 422
    assert core.ask("POST", "/embed", {"inputs": [*lists, [1]]}).status == 422


@pytest.mark.parametrize("text", ["a" * 300_000, "日本" * 50_000], ids=["ASCII", "escaped"])
def test_large_texts_are_read_as_small_ones(text: str) -> None:
    engine = Plain()
    with serving(engine, limits=small(characters=10**6)) as core:
        assert core.embed(text, "b").status == 200
    assert {text, "b"} <= {one for batch in engine.batches for one in batch}


# Places


def head(length: int) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % length


def test_bodies_that_do_not_come_take_no_places() -> None:
    with serving(limits=small(concurrent=2, body_seconds=10 * PATIENCE_S)) as core, ExitStack() as opened:
        waiting = [opened.enter_context(core.raw(head(10))) for _ in range(20)]
        assert [core.embed("a").status for _ in range(3)] == [200] * 3
        wait_for(lambda: core.app.gate.at_work == 0)
        wait_for(lambda: len(answered(waiting)) >= 12)  # 8 are read at once
        dropped = answered(waiting)
        assert len(dropped) <= 15, "each of the three that were answered took the place of one at most"
        assert {answer(connection).status for connection in dropped} == {429}


def answered(connections: list[socket.socket]) -> list[socket.socket]:
    """Those with something to read."""
    return select.select(connections, [], [], 0)[0]


def test_large_bodies_that_do_not_end_make_room() -> None:
    with serving(limits=small(body=MIB, body_seconds=10 * PATIENCE_S)) as core, ExitStack() as opened:
        part = head(MIB) + b" " * (MIB - 1)
        waiting = []
        for count in range(1, 5):
            waiting.append(opened.enter_context(core.raw(part)))
            wait_for(lambda count=count: core.app.gate.held == count * (MIB - 1))  # type: ignore[misc]
        assert core.embed("a").status == 200
        whole = BODY + b" " * (MIB - len(BODY))
        assert core.ask("POST", "/embed", whole).status == 200
        assert answer(waiting[0]).status == 429
        opened.close()
        wait_for(lambda: core.app.gate.held == 0)


def test_small_bodies_have_room_however_much_is_held() -> None:
    gate = Gate(small(body=MIB))
    for _ in range(4):
        gate.hold(MIB)
    with pytest.raises(Busy):
        gate.hold(MIB)
    with gate.holding(lambda: None) as held:
        gate.add(held, 2**16)
        with pytest.raises(Busy):
            gate.add(held, 1)
    gate.hold(100)
    assert gate.held == 4 * MIB + 100


# Answers


def unread(core: Core, **more: object) -> socket.socket:
    """A request for megabytes, and nothing is read of them."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", core.port))
    body = json.dumps({"query": "a", "texts": ["x" * 100_000] * 80, "return_text": True}).encode()
    request = HEAD.replace(b"/embed", b"/rerank") + b"Content-Length: %d\r\n\r\n" % len(body)
    connection.sendall(request + body)
    return connection


def told(connection: socket.socket) -> bytes:
    """What came until the connection ended, in order or not."""
    found = b""
    try:
        while part := connection.recv(MIB):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The requests at work whenever the server looks after a connection that is not read, which is soon."""
    found: list[int] = []
    look = Unstalled._look

    def noting(connection: Unstalled) -> None:
        found.append(connection.app.gate.at_work)  # type: ignore[attr-defined]
        look(connection)

    monkeypatch.setattr(Unstalled, "patience", 0.5)
    monkeypatch.setattr(Unstalled, "_look", noting)
    return found


def test_an_answer_that_is_not_read_is_cut_off_and_counted_until_then(looks: list[int]) -> None:
    with serving() as core, unread(core) as connection:
        connection.recv(1, socket.MSG_PEEK)
        line = core.line(route="/rerank", status=499)
        assert line["sent"] < 8_000_000
        assert core.app.gate.at_work == 0
        assert looks and set(looks) == {1}, "the last one cut it off"
        assert len(told(connection)) < 8_000_000


def test_an_answer_that_takes_too_long_to_read_is_cut_off() -> None:
    with serving(limits=small(seconds=5)) as core, unread(core) as connection:
        line = core.line(route="/rerank", refused="timeout")
        assert line["sent"] < 8_000_000
        assert len(told(connection)) < 8_000_000
        assert "Exception in ASGI" not in core.log.getvalue()


def test_who_reads_slowly_gets_everything() -> None:
    with serving() as core, unread(core) as connection:
        time.sleep(0.5)
        found = answer(connection)
    assert found.status == 200
    assert sum(len(one["text"]) for one in found.json) == 8_000_000


# Bodies behind a refusal


@pytest.mark.parametrize("ready", [True, False], ids=["401", "503"])
def test_a_body_without_end_is_not_taken_in_behind_a_refusal(ready: bool) -> None:
    asked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    with serving(api_key="sesame", ready=ready, limits=small(body=MIB)) as core, core.raw(asked) as connection:
        refused = answer(connection)
        assert (refused.status, refused.headers["connection"]) == (401 if ready else 503, "close")
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"100000\r\n" + b"x" * MIB + b"\r\n")


def test_nor_behind_an_answer_to_a_get(core: Core) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: here\r\nContent-Length: 99999999\r\n\r\n"
    with core.raw(asked) as connection:
        assert answer(connection).headers["connection"] == "close"


def test_a_refusal_of_a_whole_body_keeps_the_connection(core: Core) -> None:
    with core.raw() as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            assert answer(connection).status == 422


# Headers that are there twice


@pytest.mark.parametrize("others", [b"Bearer wrong", b"Bearer sesame"])
def test_of_two_tokens_none_counts(others: bytes) -> None:
    with serving(api_key="sesame") as core:
        for tokens in ((others, b"Bearer sesame"), (b"Bearer sesame", others)):
            lines = b"".join(b"Authorization: " + token + b"\r\n" for token in tokens)
            with core.raw(HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY) as connection:
                assert answer(connection).status == 400


def test_of_two_encodings_none_counts(core: Core) -> None:
    lines = b"Content-Encoding: gzip\r\nContent-Encoding: identity\r\n"
    with core.raw(HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY) as connection:
        assert answer(connection).status == 400


# The end


def test_requests_that_the_end_cuts_off_are_told() -> None:
    sent: list[Message] = []

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async def cancelled() -> None:
        app = Ids(Guard(endless, MIB), Paths(("/embed",)))
        scope = {"type": "http", "method": "POST", "path": "/embed", "headers": []}
        working = asyncio.create_task(app(scope, receive, send))
        await asyncio.sleep(0)
        working.cancel()
        await working

    asyncio.run(cancelled())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"] == "The server is ending."


def test_documents_are_made_once(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {path: core.ask("GET", path) for path in ("/docs", "/openapi.json")}
    assert {one.status for one in first.values()} == {200}
    monkeypatch.setattr(core.app, "openapi_schema", {"info": {"title": "another", "version": "1"}, "paths": {}})
    assert {path: core.ask("GET", path).body for path in first} == {path: one.body for path, one in first.items()}
    assert core.ask("HEAD", "/openapi.json").body == b""


def test_teis_info_is_there_with_the_models() -> None:
    with serving(ready=False) as core:
        refused = core.ask("GET", "/info")
        assert (refused.status, refused.json["error_type"]) == (503, "unhealthy")
        core.backend.ready(0.5)
        assert core.ask("GET", "/info").status == 200
