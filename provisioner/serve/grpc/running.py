"""The gRPC server: its services, options and end."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from provisioner.errors import UsageError
from provisioner.serve.backend import Backend
from provisioner.serve.grpc.calls import Calls
from provisioner.serve.grpc.service import Models
from provisioner.serve.grpc.v1 import serve_pb2, serve_pb2_grpc
from provisioner.serve.http.admission import Gate
from provisioner.serve.http.counted import Counted
from provisioner.serve.http.tracing import Tracing
from provisioner.serve.instruments import Instruments
from provisioner.serve.settings import Limits, Settings

MODELS: str = serve_pb2.DESCRIPTOR.services_by_name["Models"].full_name

_SILENT_S, _DEAD_S = 60, 20  # after which a client is asked whether it is still there, and given up
_BESIDE = 64  # streams of a connection beside those at work: its own client queues what is more, and is not refused
_WINDOW = 2**16  # bytes that a client may send of messages that are not being read, on one connection
_FRAME = 2**14  # bytes; the least that HTTP/2 has
_CONNECTIONS, _IDLE_S = 1024, 600


class Running:
    """A server that listens.

    Attributes:
        port: that it was given, or took.
    """

    def __init__(self, server: grpc.aio.Server, calls: Calls, state: health.aio.HealthServicer, port: int) -> None:
        self._server = server
        self._calls = calls
        self._state = state
        self._telling: set[asyncio.Task[None]] = set()
        self.port = port

    def set_ready(self, ready: bool) -> None:
        """What the health service says from now on. In the server's event loop."""
        task = asyncio.get_running_loop().create_task(_tell(self._state, ready))
        self._telling.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._telling.discard)

    async def stop(self, grace: float) -> None:
        """Take no more calls, give those at work so many seconds, and end. Again, with fewer seconds, hurries it."""
        await self._state.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace))
        # gRPC would wait for those who watch the health as well, and they never end by themselves.
        finished = asyncio.create_task(self._calls.finished())
        await asyncio.wait((stopping, finished), return_when=asyncio.FIRST_COMPLETED)
        finished.cancel()
        await self._server.stop(None)
        await stopping


async def start(
    backend: Backend, settings: Settings, instruments: Instruments, gate: Gate | None, tracing: Tracing | None
) -> Running:
    """As `server.start`."""
    opened, idle = frozenset({health.SERVICE_NAME}), frozenset({f"/{MODELS}/Info"})
    gate = gate or Gate(settings.limits)
    calls = Calls(backend, settings, instruments, gate, tracing, opened=opened, idle=idle)
    server = grpc.aio.server(interceptors=(calls,), options=_options(settings.limits))
    models = Models(Counted(backend, instruments, tracing, gate), settings.limits)
    serve_pb2_grpc.add_ModelsServicer_to_server(models, server)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    reflection.enable_server_reflection((MODELS, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    await _tell(state, False)
    port = _listen(server, settings)
    await server.start()
    return Running(server, calls, state, port)


async def _tell(state: health.aio.HealthServicer, ready: bool) -> None:
    said = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
    for service in ("", MODELS):
        await state.set(service, said)


def _options(limits: Limits) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", limits.body),
        ("grpc.max_send_message_length", -1),
        # A message is unpacked whole before its size is looked at: a small one could fill the memory.
        ("grpc.compression_enabled_algorithms_bitset", 1 << grpc.Compression.NoCompression),
        # Two servers on one port would each get some of the calls.
        ("grpc.so_reuseport", 0),
        *_memory(limits),
        ("grpc.keepalive_time_ms", _SILENT_S * 1000),
        ("grpc.keepalive_timeout_ms", _DEAD_S * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_connection_idle_ms", _IDLE_S * 1000),
        ("grpc.server_handshake_timeout_ms", round(limits.body_seconds * 1000)),
    )


def _memory(limits: Limits) -> tuple[tuple[str, int], ...]:
    """What clients can make gRPC hold, beside the messages that `reads` lets in."""
    return (
        ("grpc.max_allowed_incoming_connections", _CONNECTIONS),
        ("grpc.max_concurrent_streams", limits.concurrent + _BESIDE),
        ("grpc.http2.lookahead_bytes", _WINDOW),
        ("grpc.http2.bdp_probe", 0),  # it would widen the window of who sends fast to megabytes
        ("grpc.http2.max_frame_size", _FRAME),
    )


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{name}:{settings.grpc_port or 0}"
    try:
        return server.add_insecure_port(address)
    except RuntimeError:
        raise UsageError(f"gRPC cannot listen on {address}.", hint="Set another GRPC_PORT.") from None
