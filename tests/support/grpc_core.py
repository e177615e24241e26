"""The gRPC server over engines that a test steers, in an event loop of its own thread; and its clients."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import grpc
import uvloop

from provisioner.serve.backend import Served
from provisioner.serve.grpc import running as grpc_running
from provisioner.serve.grpc.running import MODELS, Running
from provisioner.serve.grpc.server import start
from provisioner.serve.grpc.v1 import serve_pb2 as pb
from provisioner.serve.grpc.v1 import serve_pb2_grpc
from provisioner.serve.http.admission import Gate
from provisioner.serve.http.tracing import Tracing
from provisioner.serve.instruments import Instruments
from provisioner.serve.local import LocalBackend
from provisioner.serve.settings import Limits, ModelSettings, Settings
from tests.support.http_core import EMBEDDER, PATIENCE_S, RELEASE, RERANKER, logged, wait_for
from tests.support.serve_engines import Gated, Plain

_options = grpc_running._options
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


@dataclass
class Core:
    """A running server.

    Attributes:
        log: everything that was logged, at DEBUG, as the server formats it.
    """

    running: Running
    backend: LocalBackend
    instruments: Instruments
    gate: Gate
    engine: Plain
    channel: grpc.Channel
    loop: asyncio.AbstractEventLoop = field(repr=False)
    log: io.StringIO = field(repr=False)

    @property
    def models(self) -> Any:
        return serve_pb2_grpc.ModelsStub(self.channel)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.running.port}"

    def embed(self, *texts: str, **options: Any) -> Any:
        """A call that runs: `result()` waits for its answer."""
        return self.models.Embed.future(pb.EmbedRequest(texts=texts), timeout=PATIENCE_S, **options)

    def within(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run it where the server runs, and wait."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    def set_ready(self, ready: bool) -> None:
        self.loop.call_soon_threadsafe(self.running.set_ready, ready)

    def line(self, **facts: object) -> dict[str, Any]:
        """The first line of the log with these facts; it is waited for."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            lines = (json.loads(line) for line in self.log.getvalue().splitlines())
            found[:] = [line for line in lines if facts.items() <= line.items()]
            return bool(found)

        wait_for(look)
        return found[0]


@contextmanager
def serving(
    engine: Plain | None = None,
    *,
    ready: bool = True,
    gate: Gate | None = None,
    tracing: Tracing | None = None,
    **settings: Any,
) -> Iterator[Core]:
    """The server with one embedder and one reranker."""
    used = replace(Settings(), **({"host": "127.0.0.1", "grpc_port": 0} | settings))
    instruments, embedder, gate = Instruments(), engine or Plain(), gate or Gate(used.limits)
    backend = LocalBackend(used.role, used.limits, used.wait, instruments)
    backend.checked(RELEASE)
    for task, repo, one in (("embed", EMBEDDER, embedder), ("rerank", RERANKER, Plain(scores=True))):
        backend.add(Served(task, repo, "a" * 40, (), 5, 0.25, one.about), one, ModelSettings())
    if ready:
        backend.ready(1.5)
    with logged() as log, _loop() as loop, patch.object(grpc_running, "_options", _patient):
        started = start(backend, used, instruments, gate, tracing)
        running = asyncio.run_coroutine_threadsafe(started, loop).result(PATIENCE_S)
        with grpc.insecure_channel(f"127.0.0.1:{running.port}", UNLIMITED) as channel:
            core = Core(running, backend, instruments, gate, embedder, channel, loop, log)
            core.set_ready(ready)
            try:
                yield core
            finally:  # gRPC's server left running fails a later test, when it is collected
                if isinstance(embedder, Gated):
                    embedder.free()
                core.within(running.stop(0))
                core.within(backend.close())


def _patient(limits: Limits) -> tuple[tuple[str, int], ...]:
    """Where a test gives messages little time, connections have theirs: this machine may be slow."""
    return tuple((dict(_options(limits)) | {"grpc.server_handshake_timeout_ms": round(PATIENCE_S * 1000)}).items())


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


def refused(call: Any) -> grpc.RpcError:
    """How a call ends that must not succeed: a future, a stream or a function that calls."""
    try:
        if isinstance(call, grpc.Future):
            call.result(PATIENCE_S)
        elif callable(call):
            call()
        else:
            list(call)
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was answered")


def trailing(error: Any) -> dict[str, str]:
    return {one.key: one.value for one in error.trailing_metadata() or ()}


__all__ = ["MODELS", "Core", "pb", "refused", "serving", "trailing"]
