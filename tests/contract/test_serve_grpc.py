"""gRPC of a server process on real weights, with real clients; and the contract that they are made of."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from numpy.typing import NDArray

from provisioner.serve.grpc.v1 import serve_pb2 as pb
from provisioner.serve.grpc.v1 import serve_pb2_grpc
from tests.support.readonly import REPOSITORY
from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.served import PATIENCE_S, Served, await_event, int8_release, serving
from tests.support.vectors import alike, ids, vector

CONTRACT = "provisioner/serve/grpc/v1/serve.proto"
MODELS = "provision.serve.v1.Models"
TEXTS = ["Every byte matched the lock.", "A cat sits on the mat.", "x", "The mat. " * 40]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return int8_release(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def served(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(release, tmp_path_factory.mktemp("served"), GRPC_PORT="0") as running:
        yield running


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc) as opened:
        yield opened


def matrix(answer: Any) -> NDArray[np.float32]:
    return np.frombuffer(answer.vectors, "<f4").reshape(answer.count, answer.dimensions)


def test_vectors_are_those_of_http(served: Served, channel: grpc.Channel) -> None:
    stub = serve_pb2_grpc.ModelsStub(channel)
    for text in TEXTS:
        answer = stub.Embed(pb.EmbedRequest(texts=[text]))
        http = served.ask("/embed", {"texts": [text]})[1]
        assert np.array_equal(matrix(answer), np.array(http["embeddings"], np.float32))
        assert (answer.model, answer.tokens) == (EMBEDDER_REPO, http["tokens"])
        assert alike(matrix(answer)[0], vector(text))


def test_options_of_a_request(channel: grpc.Channel) -> None:
    stub = serve_pb2_grpc.ModelsStub(channel)
    text = TEXTS[0]
    tokens = stub.Embed(pb.EmbedRequest(tokens=[pb.Tokens(ids=ids(text))]))
    assert alike(matrix(tokens)[0], vector(text))
    short = stub.Embed(pb.EmbedRequest(texts=[text], max_length=4, dimensions=32, model=EMBEDDER_REPO))
    assert short.tokens == 4 and alike(matrix(short)[0], vector(text, 4)[:32])
    prompted = stub.Embed(pb.EmbedRequest(texts=[text], prompt="query: "))
    assert alike(matrix(prompted)[0], vector(f"query: {text}"))


def test_scores_are_those_of_http(served: Served, channel: grpc.Channel) -> None:
    answer = serve_pb2_grpc.ModelsStub(channel).Rerank(pb.RerankRequest(query=TEXTS[1], documents=TEXTS))
    results = served.ask("/rerank", {"query": TEXTS[1], "documents": TEXTS})[1]["results"]
    scores = {one["index"]: one["score"] for one in results}
    assert np.allclose(answer.scores, [scores[index] for index in range(len(TEXTS))], atol=1e-5)
    assert answer.model == RERANKER_REPO and int(np.argmax(answer.scores)) == 1


def test_many_at_once_and_a_stream_with_the_asyncio_client(served: Served) -> None:
    texts = [f"Sentence {number}. " * (number % 5 + 1) for number in range(200)]

    async def ask() -> tuple[list[Any], list[Any]]:
        async with grpc.aio.insecure_channel(served.grpc) as channel:
            stub: Any = serve_pb2_grpc.ModelsStub(channel)
            ones = (stub.Embed(pb.EmbedRequest(texts=[text])) for text in texts[:20])
            stream = stub.EmbedStream(pb.EmbedRequest(texts=texts))
            return await asyncio.gather(*ones), [chunk async for chunk in stream]

    ones, chunks = asyncio.run(ask())
    rows = np.concatenate([matrix(chunk) for chunk in chunks])
    assert [chunk.index for chunk in chunks] == list(range(0, 200, chunks[0].count)) and len(rows) == 200
    # The int8 graph scales by its whole batch, so a vector depends a little on what it was computed with.
    assert all(alike(rows[at], matrix(one)[0], 0.99) for at, one in enumerate(ones))


def test_info(served: Served, channel: grpc.Channel, release: Path) -> None:
    info = serve_pb2_grpc.ModelsStub(channel).Info(pb.InfoRequest())
    facts = served.ask("/status.json")[1]
    assert info.ready and info.role == "inference" and info.version == facts["version"]
    assert (info.release.name, info.release.evidence) == (release.name, "recorded")
    assert {(model.task, model.repo) for model in info.models} == {("embed", EMBEDDER_REPO), ("rerank", RERANKER_REPO)}
    assert {model.dimensions for model in info.models} == {0, 384}


def test_health(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", MODELS):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_tells_the_contract_as_it_is_in_the_repository(channel: grpc.Channel, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={REPOSITORY}", CONTRACT]
    subprocess.run(
        [*command, f"--descriptor_set_out={tmp_path / 'set'}"], check=True, timeout=PATIENCE_S, cwd=REPOSITORY
    )
    (compiled,) = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    told = ProtoReflectionDescriptorDatabase(channel)
    assert set(told.get_services()) == {MODELS, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert told.FindFileContainingSymbol(MODELS) == plain(compiled)
    methods = DescriptorPool(told).FindServiceByName(MODELS).methods
    assert [method.name for method in methods] == ["Embed", "EmbedStream", "Rerank", "Info"]


def plain(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """Without the names in JSON, which the generated code leaves to whoever loads it."""
    for message in (one for top in file.message_type for one in (top, *top.nested_type)):
        for field in message.field:
            field.ClearField("json_name")
    return file


def test_what_is_generated_is_not_in_git() -> None:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout

    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    assert git("ls-files", "*_pb2*") == ""
    made = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / CONTRACT).parent.glob("*_pb2*")]
    assert len(made) == 3 and git("check-ignore", *made).split() == made


def test_a_stream_is_finished_before_the_server_ends(release: Path, tmp_path: Path) -> None:
    with serving(release, tmp_path, GRPC_PORT="0") as served, grpc.insecure_channel(served.grpc) as channel:
        texts = [f"Sentence {number}." for number in range(600)]
        stream = serve_pb2_grpc.ModelsStub(channel).EmbedStream(pb.EmbedRequest(texts=texts))
        rows = [matrix(next(stream))]
        served.process.terminate()
        await_event(served, "draining")
        rows += [matrix(chunk) for chunk in stream]
        assert len(np.concatenate(rows)) == 600
        assert served.process.wait(PATIENCE_S) == 0
        assert not any(text in served.log.read_text() for text in texts)


def test_a_call_has_its_place_among_the_requests_of_http(release: Path, tmp_path: Path) -> None:
    variables = {"GRPC_PORT": "0", "MAX_CONCURRENT": "1"}
    with serving(release, tmp_path, **variables) as served, grpc.insecure_channel(served.grpc) as channel:
        stream = serve_pb2_grpc.ModelsStub(channel).EmbedStream(pb.EmbedRequest(texts=["a"] * 20_000))
        next(stream)  # and no more is read: it stays at work
        assert served.ask("/embed", {"texts": ["a"]})[0] == 429
        stream.cancel()


def test_a_second_signal_ends_calls_at_work(release: Path, tmp_path: Path) -> None:
    variables = {"GRPC_PORT": "0", "DRAIN_SECONDS": "3000"}
    with serving(release, tmp_path, **variables) as served, grpc.insecure_channel(served.grpc) as channel:
        stream = serve_pb2_grpc.ModelsStub(channel).EmbedStream(pb.EmbedRequest(texts=["a"] * 20_000))
        next(stream)
        served.process.terminate()
        await_event(served, "draining")
        served.process.terminate()
        assert served.process.wait(PATIENCE_S) == 0
