"""gRPC calls that are refused, limited, cut short or drained; engines that a test steers, real clients and server."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from subprocess import run
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client import generate_latest

from provisioner.errors import UsageError
from provisioner.serve.engines.interface import Floats, Item
from provisioner.serve.grpc import bulk
from provisioner.serve.grpc.server import start
from provisioner.serve.settings import Role, Settings
from tests.support import http_core
from tests.support.grpc_core import MODELS, Core, pb, refused, serving, trailing
from tests.support.http_core import EMBEDDER, MARK, PATIENCE_S, small, wait_for
from tests.support.readonly import REPOSITORY
from tests.support.serve_engines import Gated, Plain

Code = grpc.StatusCode
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def health(core: Core, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(core.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S).status)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize("metadata", [(), bearer("other"), bearer(""), (("authorization", "Basic secret"),)])
def test_without_the_token_nothing_is_answered_but_health(metadata: tuple[tuple[str, str], ...]) -> None:
    with serving(api_key="secret") as core:
        for call in (core.embed(MARK, metadata=metadata), core.models.Info.future(pb.InfoRequest(), metadata=metadata)):
            assert refused(call).code() is Code.UNAUTHENTICATED
        stream = core.models.EmbedStream(pb.EmbedRequest(texts=["a"]), metadata=metadata)
        assert refused(stream).code() is Code.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as error:
            ProtoReflectionDescriptorDatabase(core.channel).get_services()
        assert error.value.code() is Code.UNAUTHENTICATED
        wait_for(lambda: health(core) == SERVING)
        assert core.embed(MARK, metadata=bearer("secret")).result().count == 1
        assert not core.engine.batches[1:]


def test_a_token_that_is_there_twice() -> None:
    with serving(api_key="secret") as core:
        for metadata in (bearer("other") + bearer("secret"), bearer("secret") + bearer("other"), bearer("secret") * 2):
            stream = core.models.EmbedStream(pb.EmbedRequest(texts=["a"]), metadata=metadata)
            reflection = core.channel.stream_stream(REFLECTION)(iter([b""]), metadata=metadata)
            for call in (core.embed("a", metadata=metadata), stream, reflection):
                error = refused(call)
                assert (error.code(), trailing(error)["kind"]) == (Code.INVALID_ARGUMENT, "bad_request")
        assert core.embed("a", metadata=(("other", "a"), ("other", "b"), *bearer("secret"))).result().count == 1


@pytest.mark.parametrize(
    ("request_", "code", "kind"),
    [
        (pb.EmbedRequest(), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=["a"] * 5), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK * 9]), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK], tokens=[pb.Tokens(ids=[1])]), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(tokens=[pb.Tokens()]), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK], dimensions=9), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK], max_length=0), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK], prompt_name=MARK), Code.INVALID_ARGUMENT, "validation"),
        (pb.EmbedRequest(texts=[MARK], max_length=3, truncate=False), Code.INVALID_ARGUMENT, "too_large"),
        (pb.EmbedRequest(texts=[MARK], model=MARK), Code.NOT_FOUND, "model_not_found"),
        (pb.EmbedRequest(texts=["poison"]), Code.INTERNAL, "engine_failed"),
    ],
)
def test_what_is_wrong_has_a_status_and_a_word(request_: pb.EmbedRequest, code: grpc.StatusCode, kind: str) -> None:
    engine = Gated()
    engine.free()
    with serving(engine, limits=small(texts=4, characters=100)) as core:
        error = refused(core.models.Embed.future(request_, timeout=PATIENCE_S))
        assert (error.code(), trailing(error)["kind"]) == (code, kind)
        assert core.line(grpc=code.name)["refused"] == kind
        if len(request_.texts) < 5:  # a stream takes more
            assert refused(core.models.EmbedStream(request_, timeout=PATIENCE_S)).code() is code
        assert MARK not in core.log.getvalue() + error.details()


def test_the_indexing_server_does_not_rerank() -> None:
    with serving(role=Role.INDEXING) as core:
        error = refused(core.models.Rerank.future(pb.RerankRequest(query="a", documents=["b"])))
        assert (error.code(), trailing(error)["kind"]) == (Code.FAILED_PRECONDITION, "wrong_role")


def test_a_message_over_the_limit_of_a_body() -> None:
    with serving(limits=small(body=2048)) as core:
        assert core.embed("a" * 1900).result().count == 1
        assert refused(core.embed(MARK * 200)).code() is Code.RESOURCE_EXHAUSTED
        assert core.line(grpc="RESOURCE_EXHAUSTED")["refused"] == "too_large"
        wait_for(lambda: core.gate.at_work == core.gate.held == 0)


def raw(core: Core) -> Any:
    return core.channel.stream_unary(f"/{MODELS}/Embed")


def test_bytes_that_are_no_request() -> None:
    with serving() as core:
        error = refused(lambda: raw(core)(iter([b"\xff" + MARK.encode()]), timeout=PATIENCE_S))
        assert error.code() is Code.INVALID_ARGUMENT
        assert MARK not in core.log.getvalue() + error.details()
        assert core.channel.unary_unary(f"/{MODELS}/Embed")(pb.EmbedRequest(texts=["a"]).SerializeToString())


def test_a_method_that_there_is_not() -> None:
    with serving() as core:
        assert refused(lambda: core.channel.unary_unary(f"/{MODELS}/Other")(b"")).code() is Code.UNIMPLEMENTED


def test_compressed_messages_are_not_unpacked() -> None:
    with serving() as core:
        error = refused(core.embed("a" * 10_000, compression=grpc.Compression.Gzip))
        assert error.code() is Code.UNIMPLEMENTED
        assert core.engine.batches == []


def test_a_message_that_does_not_come() -> None:
    with serving(limits=small(body_seconds=0.2)) as core:
        ended = threading.Event()
        error = refused(lambda: raw(core)(iter(ended.wait, True), timeout=PATIENCE_S))
        ended.set()
        assert error.code() is Code.DEADLINE_EXCEEDED and "message" in error.details()
        wait_for(lambda: core.gate.at_work == 0)


def test_as_many_calls_as_there_may_be() -> None:
    engine = Gated()
    with serving(engine, limits=small(concurrent=1)) as core:
        first = core.embed("a")
        engine.begun()
        error = refused(core.embed(MARK))
        assert error.code() is Code.RESOURCE_EXHAUSTED
        assert trailing(error) | {"retry-after": "1", "grpc-retry-pushback-ms": "1000"} == trailing(error)
        assert core.models.Info(pb.InfoRequest()).ready
        engine.free()
        assert first.result().count == 1
        assert core.embed("b").result().count == 1


def test_http_and_grpc_share_one_limit() -> None:
    engine, limits = Gated(), small(concurrent=1)
    with (
        ThreadPoolExecutor(1) as other,
        http_core.serving(engine, limits=limits) as http,
        serving(limits=limits, gate=http.app.gate) as core,
    ):
        asked = other.submit(http.embed, "a")
        engine.begun()
        assert refused(core.embed("b")).code() is Code.RESOURCE_EXHAUSTED
        engine.free()
        assert asked.result().status == 200
        wait_for(lambda: http.app.gate.at_work == 0)  # here each has a thread of its own
        assert core.embed("b").result().count == 1


def test_a_queue_that_is_full() -> None:
    engine = Gated()
    with serving(engine, role=Role.INDEXING, limits=small(queue=8)) as core:
        first = core.embed("a")
        engine.begun()
        second = core.embed(*"bcdefg")
        wait_for(lambda: core.gate.at_work == 2)
        wait_for(lambda: b'queue_depth_texts{task="embed"} 6.0' in generate_latest(core.instruments.registry))
        error = refused(core.embed("h", "i", "j"))
        assert error.code() is Code.RESOURCE_EXHAUSTED and int(trailing(error)["retry-after"]) >= 1
        engine.free()
        assert (first.result().count, second.result().count) == (1, 6)


def test_until_it_is_ready() -> None:
    with serving(ready=False) as core:
        assert health(core) == health(core, MODELS) == NOT_SERVING
        error = refused(core.embed("a"))
        assert error.code() is Code.UNAVAILABLE and "retry-after" in trailing(error)
        info = core.models.Info(pb.InfoRequest())
        assert not info.ready and info.detail
        watch = health_pb2_grpc.HealthStub(core.channel).Watch(health_pb2.HealthCheckRequest(service=MODELS))
        assert next(watch).status == NOT_SERVING
        core.backend.ready(1.0)
        core.set_ready(True)
        assert next(watch).status == SERVING
        assert health(core) == SERVING
        assert core.embed("a").result().count == 1
        with pytest.raises(grpc.RpcError) as unknown:
            health(core, "another.Service")
        assert unknown.value.code() is Code.NOT_FOUND


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_nobody_computes_what_nobody_waits_for(how: str) -> None:
    engine = Gated()
    with serving(engine) as core:
        first = core.embed("first")
        engine.begun()
        call = at_work(core, how, 0.3 if how == "deadline" else PATIENCE_S)
        if how == "cancel":
            call.cancel()
        else:
            assert refused(call).code() is Code.DEADLINE_EXCEEDED
        line = core.line(status=499)
        # A client whose deadline passed resets the call, which the server may hear before its own clock says so.
        assert line["grpc"] in ({"CANCELLED"} if how == "cancel" else {"CANCELLED", "DEADLINE_EXCEEDED"})
        assert line["client_closed"]
        wait_for(lambda: core.gate.at_work == 1)
        engine.free()
        assert first.result().count == 1
        assert engine.batches == [["first"]]
        assert MARK not in core.log.getvalue()


def at_work(core: Core, how: str, seconds: float) -> Any:
    """A second call, while it is at work; with more time where it took longer than it had to come so far."""
    while True:
        call = core.models.Embed.future(pb.EmbedRequest(texts=[MARK]), timeout=seconds)
        wait_for(lambda call=call: core.gate.at_work == 2 or call.done())  # type: ignore[misc]
        if core.gate.at_work == 2:
            return call
        assert how == "deadline" and refused(call).code() is Code.DEADLINE_EXCEEDED
        seconds *= 2


def test_a_stream_that_is_cancelled_computes_no_further() -> None:
    engine = Gated()
    with serving(engine) as core:
        stream = core.models.EmbedStream(pb.EmbedRequest(texts=["a"] * 1000))
        engine.begun()
        stream.cancel()
        assert core.line(grpc="CANCELLED")["route"] == f"/{MODELS}/EmbedStream"
        wait_for(lambda: core.gate.at_work == 0)
        engine.free()
        assert core.embed("b").result().count == 1
        assert sum(map(len, engine.batches)) < 1 + 2 * bulk.CHUNK


def test_an_answer_that_takes_too_long() -> None:
    with serving(Gated(), limits=small(seconds=0.2)) as core:
        for call in (core.embed("a"), core.models.EmbedStream(pb.EmbedRequest(texts=["a"]))):
            error = refused(call)
            assert (error.code(), trailing(error)["kind"]) == (Code.DEADLINE_EXCEEDED, "timeout")


def test_a_stream_comes_in_order() -> None:
    texts = [f"text {number} " * (number % 7 + 1) for number in range(500)]
    with serving(limits=small(texts=100, queue=200)) as core:
        assert refused(core.embed(*texts)).code() is Code.INVALID_ARGUMENT
        chunks = list(core.models.EmbedStream(pb.EmbedRequest(texts=texts)))
        assert [chunk.index for chunk in chunks] == [sum(c.count for c in chunks[:n]) for n in range(len(chunks))]
        assert {(chunk.model, chunk.dimensions) for chunk in chunks} == {(EMBEDDER, 4)} and len(chunks) >= 10
        got = np.concatenate([np.frombuffer(chunk.vectors, "<f4").reshape(-1, chunk.dimensions) for chunk in chunks])
        assert np.array_equal(got, core.engine.run(core.engine.tokenize(texts)))
        assert sum(chunk.tokens for chunk in chunks) == core.line(grpc="OK")["tokens"] == sum(map(len, texts))
        most = pb.EmbedRequest(texts=["a"] * (100 * bulk.TIMES + 1))
        assert refused(core.models.EmbedStream(most)).code() is Code.INVALID_ARGUMENT


class Wide(Plain):
    """Vectors that fill the buffers of a connection soon."""

    def __init__(self) -> None:
        super().__init__()
        self.computed = 0

    def run(self, items: list[Item]) -> Floats:  # type: ignore[override]
        self.computed += len(items)
        return np.full((len(items), 4096), 1, np.float32)


def test_a_client_that_does_not_read_holds_the_computation_up() -> None:
    engine = Wide()
    with serving(engine) as core:
        stream = core.models.EmbedStream(pb.EmbedRequest(texts=["a"] * 4000))
        next(stream)
        seen = -1
        while seen < engine.computed:  # until it stands still
            seen = engine.computed
            threading.Event().wait(0.5)
        assert seen < 2000
        assert sum(chunk.count for chunk in stream) == 4000 - bulk.CHUNK


def test_a_client_that_never_reads_does_not_keep_its_place() -> None:
    with serving(Wide(), limits=small(seconds=PATIENCE_S, concurrent=1)) as core:
        for seconds in (0.3, 3, 30):
            # Of what is to be read; the limits of the computation are others.
            core.running._calls._limits = small(seconds=seconds, concurrent=1)
            name = (("x-request-id", f"unread-{seconds}"),)
            stream = core.models.EmbedStream(pb.EmbedRequest(texts=["a"] * 4000), metadata=name)
            if begins(stream):
                break
        else:
            pytest.fail("nothing came of it, however much time there was")
        assert core.line(grpc="DEADLINE_EXCEEDED", request_id=name[0][1])["refused"] == "timeout"
        assert core.embed("a").result().count == 1
        stream.cancel()


def begins(stream: Any) -> bool:
    """Reads one part. On a slow machine that may take longer than a part may."""
    try:
        next(stream)
    except grpc.RpcError:
        assert stream.code() is Code.DEADLINE_EXCEEDED
        return False
    return True


def test_the_end_waits_for_calls_but_not_for_watchers() -> None:
    engine = Gated()
    with serving(engine) as core:
        wait_for(lambda: health(core) == SERVING)
        watch = health_pb2_grpc.HealthStub(core.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        calls = [core.embed("a", "b"), core.models.Embed.future(pb.EmbedRequest(texts=["c"]))]
        engine.begun()
        wait_for(lambda: core.gate.at_work == 2)
        ending = asyncio.run_coroutine_threadsafe(core.running.stop(PATIENCE_S), core.loop)
        assert next(watch).status == NOT_SERVING
        engine.free()
        assert refused(watch).code() in (Code.CANCELLED, Code.UNAVAILABLE)
        assert [call.result(PATIENCE_S).count for call in calls] == [2, 1]
        ending.result(PATIENCE_S / 2)
        with grpc.insecure_channel(core.address) as channel:
            assert refused(lambda: channel.unary_unary(f"/{MODELS}/Info")(b"")).code() is Code.UNAVAILABLE


def test_the_end_does_not_wait_longer_than_it_may() -> None:
    engine = Gated()
    with serving(engine) as core:
        call = core.embed(MARK)
        engine.begun()
        core.within(core.running.stop(0.2))
        assert refused(call).code() in (Code.CANCELLED, Code.UNAVAILABLE)
        assert MARK not in core.log.getvalue()


def test_the_end_is_hurried_by_another_one() -> None:
    engine = Gated()
    with serving(engine) as core:
        watch = health_pb2_grpc.HealthStub(core.channel).Watch(health_pb2.HealthCheckRequest())
        wait_for(lambda: next(watch).status == SERVING)
        call = core.embed(MARK)
        engine.begun()
        patient = asyncio.run_coroutine_threadsafe(core.running.stop(10 * PATIENCE_S), core.loop)
        assert next(watch).status == NOT_SERVING
        assert not patient.done() and not call.done()
        hurried = [asyncio.run_coroutine_threadsafe(core.running.stop(0), core.loop) for _ in range(2)]
        for ending in (*hurried, patient):
            ending.result(PATIENCE_S)
        assert refused(call).code() in (Code.CANCELLED, Code.UNAVAILABLE)
        core.within(core.running.stop(0))


def test_a_request_id_comes_back_and_is_in_the_log() -> None:
    with serving() as core:
        call = core.embed("a", metadata=(("x-request-id", "abc-1"),))
        assert call.result().count == 1 and trailing(call)["x-request-id"] == "abc-1"
        line = core.line(request_id="abc-1")
        assert (line["route"], line["status"], line["grpc"]) == (f"/{MODELS}/Embed", 200, "OK")
        assert line["texts"] == 1 and line["received"] and line["sent"]
        error = refused(core.embed(metadata=(("x-request-id", f"{MARK} {MARK}"),)))
        assert len(trailing(error)["x-request-id"]) == 32
        metrics = generate_latest(core.instruments.registry).decode()
        assert f'requests_total{{method="POST",route="/{MODELS}/Embed",status="200"}} 1.0' in metrics
        assert MARK not in core.log.getvalue() + metrics


def test_a_port_that_is_taken() -> None:
    with serving() as core:
        settings = Settings(host="127.0.0.1", grpc_port=core.running.port)
        with pytest.raises(UsageError, match="cannot listen"):
            core.within(start(core.backend, settings, core.instruments))


@pytest.mark.parametrize("missing", ["grpc", "grpc_health", "grpc_reflection", "google.protobuf"])
def test_without_the_extra_it_says_so(missing: str) -> None:
    script = f"""
import asyncio, sys
sys.modules[{missing!r}] = None
from provisioner.errors import MissingExtra
from provisioner.serve.grpc.server import start
from provisioner.serve.settings import Settings
try:
    asyncio.run(start(None, Settings(), None))
except MissingExtra as error:
    print(error.hint)
"""
    done = run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (0, "") and "[grpc]" in done.stdout
