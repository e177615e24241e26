"""What every call passes before it is answered: token, limits, request id, log. As HTTP's requests do.

The methods are registered as if the client streamed its request: gRPC then hands a call over before its message is
read, so that nothing is read of one that is refused, and no message is waited for without limits of time and memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc
from google.protobuf.message import DecodeError

from provisioner.serve import logs
from provisioner.serve.backend import Backend
from provisioner.serve.grpc import codes
from provisioner.serve.grpc.reads import Reads
from provisioner.serve.http import auth, ids
from provisioner.serve.http.access_log import note
from provisioner.serve.http.admission import Gate
from provisioner.serve.http.ids import Asked
from provisioner.serve.http.tracing import Tracing
from provisioner.serve.instruments import Instruments
from provisioner.serve.refusals import Broken, Invalid, NotReady, Refused, Repeated, TimedOut
from provisioner.serve.settings import Settings

log = logging.getLogger(__name__)

_HANDED_OVER_S = 0.05

# Messages at once, each of which may be as large as the limit: of requests as many as HTTP's bodies may hold; and of
# calls that are no work, which those must not keep out. Whoever waits for a place shortens the time of who has one.
_READS, _ASIDES = 4, 2
_WAITING = 4  # times the calls at work
_PATIENCE_S, _ASIDE_PATIENCE_S = 5.0, 0.5

# Generic for the type checker only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Answer: TypeAlias = "Callable[[Any, Context], Awaitable[Any]]"


class Calls(grpc.aio.ServerInterceptor):
    """Stands before the methods.

    Attributes:
        unanswered: calls that came, whether their message did or not.

    Args:
        opened: services that need no token and are not counted, as that of the health.
        idle: methods that are answered while the models are loaded, and are no work.
    """

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        instruments: Instruments,
        gate: Gate,
        tracing: Tracing | None,
        opened: frozenset[str],
        idle: frozenset[str],
    ) -> None:
        self._backend = backend
        self._limits = settings.limits
        self._key = settings.api_key.encode() if settings.api_key else None
        self._instruments = instruments
        self._gate = gate
        self._tracing = tracing
        self._opened = opened
        self._idle = idle
        seconds, waiting = settings.limits.body_seconds, _WAITING * settings.limits.concurrent
        self._reads = Reads(_READS, waiting, seconds, _PATIENCE_S)
        self._asides = Reads(_ASIDES, waiting, seconds, _ASIDE_PATIENCE_S)
        self._probes = Reads(_ASIDES, waiting, seconds, _ASIDE_PATIENCE_S)
        self._handlers: dict[str, Handler] = {}
        self.unanswered = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def finished(self) -> None:
        """Wait until no call is at work, nor one that gRPC is just about to hand over."""
        await asyncio.sleep(_HANDED_OVER_S)
        await self._quiet.wait()

    async def intercept_service(self, continuation: Callable[..., Awaitable[Any]], handler_call_details: Any) -> Any:
        """The handler of a method, with what comes before it; None for a method that there is not."""
        method: str = handler_call_details.method
        if method in self._handlers:
            return self._handlers[method]
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if method.split("/")[1] in self._opened:
            made = self._probe(handler)
        else:
            made = self._reflection(handler) if handler.request_streaming else self._method(method, handler)
        return self._handlers.setdefault(method, made)

    def _probe(self, handler: Handler) -> Handler:
        inner: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def answer(_: Any, context: Context) -> Any:
            try:
                # Handlers of generated code always have one; the stubs say that it may be None, here and below.
                message = handler.request_deserializer(await self._read(self._probes, context))  # type: ignore[misc]
            except (Refused, DecodeError) as error:
                await _abort(context, error if isinstance(error, Refused) else _no_message(), _asked("", context))
            return await inner(message, context)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)

    def _reflection(self, handler: Handler) -> Handler:
        inner: Any = handler.stream_stream

        async def messages(context: Context) -> AsyncIterator[Any]:
            while (data := await self._asides.read(context.peer(), context.read)) is not grpc.aio.EOF:
                yield handler.request_deserializer(data)  # type: ignore[misc]

        async def answer(_: Any, context: Context) -> AsyncIterator[Any]:
            asked = _asked("", context)
            try:
                self._authorize(asked)
                async for message in inner(messages(context), context):
                    yield message
            except (Refused, DecodeError) as error:
                await _abort(context, error if isinstance(error, Refused) else _no_message(), asked)

        return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)

    def _method(self, method: str, handler: Handler) -> Handler:
        inner: Any = handler.unary_stream if handler.response_streaming else handler.unary_unary

        async def one(message: Any, context: Context) -> Any:
            response = await inner(message, context)
            _sent(response)
            return response

        async def many(message: Any, context: Context) -> None:
            async with aclosing(inner(message, context)) as responses:
                async for response in responses:
                    await self._write(response, context)
                    _sent(response)

        async def answer(_: Any, context: Context) -> Any:
            return await self._answer(method, context, handler, many if handler.response_streaming else one)

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(answer, None, handler.response_serializer)
        return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)

    async def _answer(self, method: str, context: Context, handler: Handler, answer: Answer) -> Any:
        self._count(context)
        asked = _asked(method, context)
        with ids.answering(asked):
            context.set_trailing_metadata((("x-request-id", asked.id),))
            refused: Refused | None = None
            try:
                with self._traced(asked):
                    response, refused = await self._outcome(asked, context, handler, answer)
            finally:
                note(asked, self._instruments, grpc=_code(asked, refused, context))
            # After the log and the counts: a client that does not read holds this up for as long as it likes.
            if refused is not None:
                await _abort(context, refused, asked)
            return response

    async def _outcome(
        self, asked: Asked, context: Context, handler: Handler, answer: Answer
    ) -> tuple[Any, Refused | None]:
        try:
            response = await self._admitted(asked, context, handler, answer)
        except Refused as error:
            refused = error
        except asyncio.CancelledError:  # by gRPC: the client went away, its deadline passed, or the server ends
            asked.gone = True
            raise
        except Exception as error:
            log.error("A call failed.", extra=logs.fields(trace=logs.trace(error)))
            refused = Broken("The server failed on this request; its log says more under the id of the request.")
        else:
            asked.status = 200
            return response, None
        asked.status, asked.refused = refused.status, refused.kind
        return None, refused

    async def _admitted(self, asked: Asked, context: Context, handler: Handler, answer: Answer) -> Any:
        """A call has its place among those at work once its message is there: one that sends none takes no room."""
        self._authorize(asked)
        idle = asked.route in self._idle
        try:
            if idle:
                return await answer(await self._message(asked, context, handler, self._asides), context)
            status = self._backend.status()
            if not status.ready:
                raise NotReady(status.detail or "The models are not loaded yet.", retry_after=2)
            self._gate.check()
            message = await self._message(asked, context, handler, self._reads)
            with self._gate.entered():
                return await answer(message, context)
        finally:
            self._gate.free(asked.received)

    def _authorize(self, asked: Asked) -> None:
        if self._key is not None:
            if b"authorization" in asked.repeated:
                raise Repeated("The metadata authorization is there more than once.")
            auth.check(self._key, asked.headers.get(b"authorization", b""))

    async def _message(self, asked: Asked, context: Context, handler: Handler, reads: Reads) -> Any:
        """The request. Raises SlowBody, Dropped, Busy, Invalid."""
        data = await self._read(reads, context)
        self._gate.hold(len(data))
        asked.received = len(data)
        try:
            return handler.request_deserializer(data)  # type: ignore[misc]
        except DecodeError:
            raise _no_message() from None

    async def _read(self, reads: Reads, context: Context) -> bytes:
        data = await reads.read(context.peer(), context.read)
        if not isinstance(data, bytes):
            raise codes.Dropped(f"There is no message, or one of more than {self._limits.body} bytes.")
        return data

    async def _write(self, response: Any, context: Context) -> None:
        """Returns when the client has room for more. Raises TimedOut; CancelledError where the client is gone."""
        try:
            async with asyncio.timeout(self._limits.seconds):
                await context.write(response)
        except TimeoutError:
            raise TimedOut(f"The client did not read for {self._limits.seconds:g} seconds.") from None
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None

    def _count(self, context: Any) -> None:
        """Until its answer is sent, which is after its method has returned."""
        self.unanswered += 1
        self._quiet.clear()
        context.add_done_callback(self._uncount)

    def _uncount(self, ctx: Context) -> None:
        self.unanswered -= 1
        if not self.unanswered:
            self._quiet.set()

    def _traced(self, asked: Asked) -> AbstractContextManager[None]:
        if self._tracing is None:
            return nullcontext()
        return self._tracing.request(asked, {"scheme": "http", "http_version": "2"})


def _asked(method: str, context: Context) -> Asked:
    """Notes as of an HTTP request, which a call is: a POST to its method's path."""
    sent = [(key.encode(), _bytes(value)) for key, value in context.invocation_metadata() or ()]
    headers, times = dict(sent), Counter(key for key, _ in sent)
    repeated = frozenset(key for key, count in times.items() if count > 1)
    given = ids.given_or_new(headers.get(b"x-request-id", b""))
    return Asked(given, "POST", method, method, headers, repeated=repeated, client=_client(context.peer()))


def _client(peer: str) -> str:
    """The address of `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return ids.address(unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]"))


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _no_message() -> Invalid:
    return Invalid("The message is not of the contract's type.")


def _sent(response: Any) -> None:
    if asked := ids.current():
        asked.sent += response.ByteSize()


def _code(asked: Asked, refused: Refused | None, context: Context) -> str:
    if refused is not None:
        return codes.code(refused).name
    if asked.gone:
        return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
    return "OK"


async def _abort(context: Context, refused: Refused, asked: Asked) -> NoReturn:
    await context.abort(codes.code(refused), str(refused), codes.metadata(refused, asked.id))
