"""What a client may send before its request is one: the head is bounded in bytes and in time."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from provisioner.serve.http.protocol import MOST
from tests.support.http_core import PATIENCE_S, Core, answer, closed, serving, small, wait_for
from tests.support.serve_engines import Gated

MIB = 2**20
HEAD = b"POST /embed HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"texts": ["a"]}).encode()
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
ALIVE = b"GET /health HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    """A head has all the time that a test takes."""
    with serving(limits=small(body_seconds=PATIENCE_S)) as running:
        yield running


@pytest.fixture(scope="module")
def hurried() -> Iterator[Core]:
    with serving(limits=small(body_seconds=0.3)) as running:
        yield running


def pour(connection: socket.socket, piece: bytes, size: int) -> int:
    """Send a piece again and again until so many bytes are sent, or until the other side has enough."""
    sent = 0
    try:
        while sent < size:
            sent += connection.send(piece)
    except OSError:
        pass
    return sent


def told(connection: socket.socket) -> bytes:
    """What came until the other side closed, if that was in order."""
    found = b""
    try:
        while part := connection.recv(MIB):
            found += part
    except ConnectionResetError:
        pass
    return found


def counted(core: Core, name: str, **labels: str) -> float:
    text = core.ask("GET", "/metrics").body.decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(one.value for one in samples if one.name == f"provision_serve_{name}" and one.labels == labels)


@pytest.mark.parametrize(
    "beginning",
    [ALIVE + b"X-Long: ", ALIVE + b"X-Lo", b"GET /", b"", b"\r\n"],
    ids=["value", "name", "address", "method", "nothing"],
)
def test_a_head_without_an_end_is_not_kept(core: Core, beginning: bytes) -> None:
    piece = b"\r\n" * 2048 if beginning == b"\r\n" else b"A" * 4096
    with core.raw(beginning) as connection:
        pour(connection, piece, 64 * MIB)
        assert told(connection).split()[1:2] in ([b"431"], [b"400"], [])


def test_many_headers_are_a_long_head_too(core: Core) -> None:
    with core.raw(ALIVE + b"A: b\r\n" * (MOST // 6)) as connection:
        refused = answer(connection)
        assert (refused.status, refused.headers["connection"]) == (431, "close")
        assert closed(connection)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_a_head_may_have_so_many_bytes(core: Core, over: int) -> None:
    filled = b"X: " + b"a" * (MOST - len(ALIVE) - len(b"X: \r\n\r\n") + over)
    with core.raw(ALIVE + filled + b"\r\n\r\n") as connection:
        assert answer(connection).status == (431 if over > 0 else 200)


def test_a_head_of_several_pieces_is_counted_from_its_beginning(core: Core) -> None:
    with core.raw(REQUEST) as connection:
        assert answer(connection).status == 200
        for piece in (ALIVE, b"X-Long: "):
            connection.sendall(piece)
            time.sleep(0.02)
        pour(connection, b"A" * 1000, MOST)
        assert answer(connection).status == 431


def test_a_large_body_is_no_head(core: Core) -> None:
    body = json.dumps({"texts": ["a" * 100_000] * 10}).encode()
    with core.raw(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) as connection:
        connection.sendall(ALIVE + b"Connection: close\r\n\r\n")
        assert told(connection).count(b"HTTP/1.1 200 OK\r\n") == 2


def test_a_refusal_is_an_answer_and_is_logged_and_counted(core: Core) -> None:
    before = counted(core, "refused_total", kind="too_large")
    with core.raw(ALIVE + b"X: " + b"heliotrope" * MOST) as connection:
        refused = answer(connection)
    assert refused.json["error_type"] == "too_large"
    assert refused.json["request_id"] == refused.headers["x-request-id"]
    line = core.line(request_id=refused.headers["x-request-id"])
    assert (line["status"], line["route"], line["method"], line["refused"]) == (431, "other", "other", "too_large")
    assert counted(core, "refused_total", kind="too_large") == before + 1
    assert "heliotrope" not in core.log.getvalue()


@pytest.mark.parametrize("behind", [b"X: ", b"A: b\r\n"])
def test_trailers_without_an_end_are_cut_off(core: Core, behind: bytes) -> None:
    head, before = HEAD + b"Transfer-Encoding: chunked\r\n\r\n", long_ones(core)
    with core.raw(head + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n" + behind) as connection:
        piece = behind * 1000 if behind.endswith(b"\n") else b"A" * 4096
        assert pour(connection, piece, 64 * MIB) < 64 * MIB or closed(connection)
    wait_for(lambda: long_ones(core) == before + 1)


def test_an_extension_of_a_chunk_without_an_end_is_cut_off(core: Core) -> None:
    before = long_ones(core)
    with core.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;a=") as connection:
        assert pour(connection, b"A" * 4096, 64 * MIB) < 64 * MIB or closed(connection)
    wait_for(lambda: long_ones(core) == before + 1)


def long_ones(core: Core) -> int:
    """Heads, and what is like them, that were refused."""
    return sum(line.get("status") == 431 for line in core.lines)


# Time


@pytest.mark.parametrize("sent", [b"G", b"\r\n", ALIVE, ALIVE + b"X: a"])
def test_a_head_has_to_arrive_in_time(hurried: Core, sent: bytes) -> None:
    with hurried.heard(sent) as connection:
        refused = answer(connection)
        assert (refused.status, refused.headers["connection"]) == (408, "close")
        assert refused.json["error_type"] == "timeout"
        assert closed(connection)


def test_a_head_that_drips_is_given_up(hurried: Core) -> None:
    with hurried.raw(ALIVE) as connection:
        until = time.monotonic() + PATIENCE_S
        try:
            while time.monotonic() < until:
                connection.sendall(b"X: a\r\n")
                time.sleep(0.05)
            pytest.fail("it was read for ever")
        except OSError:
            pass


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(hurried: Core) -> None:
    with hurried.raw() as connection:
        assert connection.recv(100) == b""


@pytest.mark.parametrize("sent", [ALIVE, b"\r\n"])
def test_the_next_head_has_its_own_time(hurried: Core, sent: bytes) -> None:
    with hurried.heard(REQUEST) as connection:
        assert answer(connection).status == 200
        time.sleep(0.5)  # an idle connection is no slow one
        connection.sendall(REQUEST)
        assert answer(connection).status == 200
        connection.sendall(sent)
        assert answer(connection).status == 408
        assert closed(connection)


def test_an_answer_that_takes_longer_than_a_head_may_is_given() -> None:
    engine = Gated()
    with serving(engine, limits=small(body_seconds=0.2)) as core, core.heard(REQUEST) as connection:
        engine.begun()
        time.sleep(0.5)
        engine.free()
        assert answer(connection).status == 200


@pytest.mark.parametrize("behind", [ALIVE, ALIVE + b"X: " + b"a" * 2 * MOST], ids=["slow", "long"])
def test_the_request_before_a_refused_head_gets_its_answer(behind: bytes) -> None:
    engine = Gated()
    with serving(engine, limits=small(body_seconds=0.2)) as core, core.heard(REQUEST) as connection:
        engine.begun()
        connection.sendall(behind)
        wait_for(lambda: any(line.get("route") == "other" for line in core.lines))
        engine.free()
        last = answer(connection)
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert closed(connection)


# Draining


def test_a_server_that_drains_is_not_ready_anywhere() -> None:
    with serving() as core:
        assert core.ask("GET", "/api/health").status == 200
        assert counted(core, "ready") == 1
        core.app.gate.drain()
        assert core.ask("GET", "/api/health").status == 503
        assert counted(core, "ready") == 0
        assert core.embed("a").status == 200


def test_a_large_body_is_decoded_whatever_its_form(core: Core) -> None:
    lists = b'{"texts":[' + b"[]," * 300_000 + b"[]]}"
    assert core.ask("POST", "/embed", lists).status == 422
    assert core.ask("POST", "/embed", lists[:-2]).status == 422
    assert core.embed(*["a" * 1000] * 512).status == 200
