"""What one client may take of the server that others need: places and memory."""

from __future__ import annotations

import json
import socket
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from provisioner.serve.http.admission import Gate
from provisioner.serve.http.stalled import Unstalled
from provisioner.serve.refusals import Busy
from provisioner.serve.settings import Limits
from tests.support.http_core import Core, answer, closed, serving, small, wait_for
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
    body = b'{"x": [' + b"[]," * 2_000_000 + b'[]], "texts": ["a"]}'
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(engine) as core, traced():
        with core.raw(sent) as connection:
            engine.begun()
            at_work, peak = tracemalloc.get_traced_memory()
            engine.free()
            assert answer(connection).status == 200
    assert at_work < len(body) / 2
    assert peak < 5 * len(body)


def test_as_many_as_may_be_are_read_however_they_are_written(core: Core) -> None:
    texts = ['"quoted", [1], {2}', "\\", '\\"', "日本語, テキスト", "", ",,,,,,,,,,", "]", "["]
    found = core.ask("POST", "/embed", {"texts": texts}).json["embeddings"]
    assert found == [core.embed(text).json["embeddings"][0] for text in texts]
    lists = [[index, 7, 8, 9, 10, 11, 12, 13, 14] for index in range(8)]
    assert len(core.ask("POST", "/embed", {"inputs": lists}).json) == 8
    assert len(core.ask("POST", "/embed", {"inputs": [*lists[:4], *texts[:4]]}).json) == 8
    assert len(core.ask("POST", "/embed", {"inputs": list(range(100))}).json) == 1
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
    with serving(limits=small(concurrent=2)) as core:
        waiting = [core.raw(head(10)) for _ in range(20)]
        assert [core.embed("a").status for _ in range(3)] == [200] * 3
        assert core.app.gate.at_work == 0
        for connection in waiting[:12]:  # 8 are read at once
            assert answer(connection).status == 429
        for connection in waiting:
            connection.close()


def test_large_bodies_that_do_not_end_make_room() -> None:
    with serving(limits=small(body=MIB)) as core:
        part = head(MIB) + b" " * (MIB - 1)
        waiting = []
        for count in range(1, 5):
            waiting.append(core.raw(part))
            wait_for(lambda count=count: core.app.gate.held == count * (MIB - 1))  # type: ignore[misc]
        assert core.embed("a").status == 200
        whole = BODY + b" " * (MIB - len(BODY))
        assert core.ask("POST", "/embed", whole).status == 200
        assert answer(waiting[0]).status == 429
        for connection in waiting:
            connection.close()
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
    connection.settimeout(60)
    connection.connect(("127.0.0.1", core.port))
    body = json.dumps({"query": "a", "texts": ["x" * 100_000] * 80, "return_text": True}).encode()
    request = HEAD.replace(b"/embed", b"/rerank") + b"Content-Length: %d\r\n\r\n" % len(body)
    connection.sendall(request + body)
    return connection


def test_an_answer_that_is_not_read_is_cut_off_and_counted_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Unstalled, "patience", 0.5)
    with serving() as core, unread(core) as connection:
        connection.recv(1, socket.MSG_PEEK)
        assert core.app.gate.at_work == 1
        line = core.line(route="/rerank", status=499)
        assert line["sent"] < 8_000_000
        assert core.app.gate.at_work == 0
        with pytest.raises(OSError):
            while connection.recv(65536):
                pass
            raise OSError  # in order would do as well


def test_an_answer_that_takes_too_long_to_read_is_cut_off() -> None:
    with serving(limits=small(seconds=1)) as core, unread(core) as connection:
        line = core.line(route="/rerank", refused="timeout")
        assert line["sent"] < 8_000_000
        with pytest.raises(ConnectionResetError):
            while connection.recv(65536):
                pass
        assert "Exception in ASGI" not in core.log.getvalue()


def test_who_reads_slowly_gets_everything() -> None:
    with serving() as core, unread(core) as connection:
        time.sleep(0.5)
        found = answer(connection)
    assert found.status == 200
    assert sum(len(one["text"]) for one in found.json) == 8_000_000
