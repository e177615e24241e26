"""What gRPC holds for clients that send half of something, or nothing."""

from __future__ import annotations

from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from provisioner.serve.grpc import calls
from tests.support.grpc_core import MODELS, Core, pb, refused, serving
from tests.support.grpc_raw import opened
from tests.support.http_core import MARK, PATIENCE_S, small, wait_for
from tests.support.serve_engines import Gated

BODY = 2**20
EMBED, INFO = f"/{MODELS}/Embed", f"/{MODELS}/Info"
HEALTH, REFLECTION = "/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, no place is given up meanwhile."""
    monkeypatch.setattr(calls, "_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(calls, "_ASIDE_PATIENCE_S", PATIENCE_S)


def answers(core: Core) -> None:
    """Everything, on a connection of its own."""
    health = health_pb2_grpc.HealthStub(core.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status
    assert core.models.Info(pb.InfoRequest(), timeout=PATIENCE_S).ready
    assert MODELS in ProtoReflectionDescriptorDatabase(core.channel).get_services()
    assert core.embed("a").result().count == 1


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("method", [EMBED, INFO, HEALTH, REFLECTION])
def test_half_messages_are_taken_of_a_few_calls_at_once(method: str) -> None:
    with serving(limits=small(body=BODY, body_seconds=PATIENCE_S)) as core, opened(core.running.port) as raw:
        sent = raw.fill([raw.call(method) for _ in range(12)], BODY)
        assert sent < 4 * BODY
        answers(core)
        assert (core.gate.at_work, core.gate.held) == (0, 0)


def test_a_message_that_does_not_come_gives_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_PATIENCE_S", 0.2)
    with serving(limits=small(body=BODY, body_seconds=2 * PATIENCE_S)) as core, ExitStack() as connections:
        for _ in range(2):
            raw = connections.enter_context(opened(core.running.port))
            raw.fill([raw.call(EMBED) for _ in range(2)], BODY)
        assert core.embed("a").result().count == 1
        assert core.line(grpc="DEADLINE_EXCEEDED", route=EMBED)["refused"] == "timeout"


@pytest.mark.parametrize("method", [HEALTH, REFLECTION, INFO])
def test_a_message_that_does_not_come_is_not_waited_for(method: str) -> None:
    with serving(limits=small(body_seconds=0.2)) as core, opened(core.running.port) as raw:
        stream = raw.call(method)
        raw.fill([stream], 100)
        raw.await_end(stream)


def test_calls_without_a_message_take_no_place_among_those_at_work() -> None:
    engine = Gated()
    with serving(engine, limits=small(concurrent=2, body_seconds=PATIENCE_S)) as core:
        with opened(core.running.port) as raw:
            for _ in range(6):
                raw.call(EMBED)
            wait_for(lambda: core.running._calls.unanswered == 6)
            assert core.gate.at_work == 0
            call = core.embed("a")
            engine.begun()
            assert core.gate.at_work == 1
            engine.free()
            assert call.result().count == 1
        wait_for(lambda: core.running._calls.unanswered == 0)


def test_no_more_calls_without_a_message_than_there_may_be() -> None:
    with serving(limits=small(concurrent=1, body_seconds=PATIENCE_S)) as core, opened(core.running.port) as raw:
        for _ in range(8):
            raw.call(EMBED)
        assert core.line(grpc="RESOURCE_EXHAUSTED")["refused"] == "overloaded"
        assert core.gate.at_work == 0


def test_streams_of_one_connection_are_bounded() -> None:
    with serving(limits=small(concurrent=10)) as core, opened(core.running.port) as raw:
        assert 10 < raw.streams < 100


def test_bytes_that_are_no_request_to_health_or_reflection() -> None:
    with serving() as core:
        for call in (core.channel.unary_unary(HEALTH), core.channel.stream_unary(REFLECTION)):
            data = b"\xff" + MARK.encode()
            error = refused(
                lambda call=call, data=data: call(data if call._method == HEALTH.encode() else iter([data]))
            )
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert MARK not in core.log.getvalue() + error.details()
