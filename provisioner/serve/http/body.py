"""The body of a request, read whole within its limits; and the end of work for a client that went away."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.serve.http import ids
from provisioner.serve.http.admission import Gate
from provisioner.serve.http.ids import Asked
from provisioner.serve.refusals import Invalid, SlowBody, TimedOut, TooLarge, Unsupported
from provisioner.serve.settings import Limits

_BODILESS = ("GET", "HEAD", "OPTIONS")
_LINGER = 1.0  # seconds
_SPARE = 2**16  # bytes


class Body:
    """Hands the body to the routes in one piece, and cancels them when they take too long or nobody waits for them."""

    def __init__(self, app: ASGIApp, limits: Limits, gate: Gate) -> None:
        self._app = app
        self._limits = limits
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through. Raises TooLarge, SlowBody, Unsupported, Busy, TimedOut."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            return await self._app(scope, receive, send)
        asked = ids.of(scope)
        self._check(asked)
        try:
            await self._read_and_pass(asked, scope, receive, send)
        finally:
            self._gate.free(asked.received)
        return None

    def _check(self, asked: Asked) -> None:
        encoding = asked.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b""):
            asked.linger = self._limits.body + _SPARE
            raise Unsupported("Compressed bodies are not read here; send it with no Content-Encoding.")
        length = asked.headers.get(b"content-length", b"0")
        # The HTTP parser lets only digits through, but another ASGI server may not.
        if not length.isdigit():
            raise Invalid("The Content-Length is not a number.")
        if len(length) > 18 or int(length) > self._limits.body:
            raise self._too_large(asked)

    def _too_large(self, asked: Asked) -> TooLarge:
        asked.linger = self._limits.body + _SPARE
        return TooLarge(f"The body is larger than the {self._limits.body} bytes that are read.")

    async def _read_and_pass(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = None
        try:
            async with asyncio.timeout(self._limits.body_seconds) as deadline:
                body = await self._read(asked, receive)
                if body is None:
                    return
                deadline.reschedule(asyncio.get_running_loop().time() + self._limits.seconds)
                await self._work(asked, deadline, scope, body, receive, send)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the routes' own
            if asked.gone:
                return
            if body is None:
                asked.linger = self._limits.body + _SPARE
                raise SlowBody(f"The body did not arrive within {self._limits.body_seconds:g} seconds.") from error
            raise TimedOut(f"The answer was not ready within {self._limits.seconds:g} seconds.") from error

    async def _read(self, asked: Asked, receive: Receive) -> bytes | None:
        """The body, or None where the client went away in the middle of it."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                asked.gone = True
                return None
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._limits.body:
                raise self._too_large(asked)
            self._gate.hold(len(part))
            asked.received += len(part)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts) if len(parts) > 1 else part

    async def _work(
        self, asked: Asked, deadline: asyncio.Timeout, scope: Scope, body: bytes, receive: Receive, send: Send
    ) -> None:
        watching = asyncio.create_task(_watch(asked, deadline, receive))
        try:
            await self._app(scope, _once(body), send)
        finally:
            watching.cancel()


async def _watch(asked: Asked, deadline: asyncio.Timeout, receive: Receive) -> None:
    """Ends the work, as its deadline would, when the client goes away before it has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not asked.complete:  # a server reports the end of a complete answer in the same way
        asked.gone = True
        deadline.reschedule(asyncio.get_running_loop().time())


def _once(body: bytes) -> Receive:
    """The body in one message; then nothing more, since whoever waits for the client to go is cancelled instead."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not left:
            await asyncio.get_running_loop().create_future()
        return left.pop()

    return receive


async def linger(receive: Receive, limit: int) -> None:
    """Read and drop what a client still sends, for a while.

    A connection that is closed while its client sends is reset, and the answer is lost on the way: many clients read
    it only when they have sent everything.
    """
    try:
        async with asyncio.timeout(_LINGER):
            while limit > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                limit -= len(message.get("body", b""))
    except TimeoutError:
        return
