"""The body of a request, read whole within its limits; and the end of work for a client that went away."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from provisioner.serve.http import ids
from provisioner.serve.http.admission import Gate, Held
from provisioner.serve.http.ids import Asked
from provisioner.serve.refusals import Busy, Invalid, Repeated, SlowBody, TimedOut, TooLarge, Unsupported
from provisioner.serve.settings import Limits

_BODILESS = ("GET", "HEAD", "OPTIONS")
_LINGER = 1.0  # seconds
SPARE = 2**16  # bytes


class Body:
    """Hands the body to the routes in one piece, and cancels them when they take too long or nobody waits for them."""

    def __init__(self, app: ASGIApp, limits: Limits, gate: Gate) -> None:
        self._app = app
        self._limits = limits
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through. Raises TooLarge, SlowBody, Unsupported, Repeated, Busy, TimedOut."""
        if scope["type"] != "http" or scope["method"] in _BODILESS:
            return await self._app(scope, receive, send)
        asked = ids.of(scope)
        self._check(asked)
        await self._read_and_pass(asked, scope, receive, send)
        return None

    def _check(self, asked: Asked) -> None:
        if b"content-encoding" in asked.repeated:
            raise Repeated("The header Content-Encoding is there more than once.")
        encoding = asked.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"identity", b""):
            raise Unsupported("Compressed bodies are not read here; send it with no Content-Encoding.")
        length = asked.headers.get(b"content-length", b"0")
        # The HTTP parser lets only digits through, but another ASGI server may not.
        if not length.isdigit():
            raise Invalid("The Content-Length is not a number.")
        if len(length) > 18 or int(length) > self._limits.body:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than the {self._limits.body} bytes that are read.")

    async def _read_and_pass(self, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
        held, reading = None, True
        try:
            async with asyncio.timeout(self._limits.body_seconds) as deadline:
                with self._gate.holding(lambda: _expire(deadline)) as held:
                    body = await self._read(asked, held, receive)
                    if body is None:
                        return
                    self._gate.complete(held)
                    reading = False
                    deadline.reschedule(asyncio.get_running_loop().time() + self._limits.seconds)
                    with self._gate.entered():
                        await self._work(asked, deadline, scope, body, receive, send)
        except TimeoutError as error:
            if not deadline.expired():
                raise  # the routes' own
            if asked.gone:
                return
            if reading and held is not None and held.dropped:
                raise Busy("The body made room for others, which came faster.", retry_after=1) from error
            if reading:
                raise SlowBody(f"The body did not arrive within {self._limits.body_seconds:g} seconds.") from error
            raise TimedOut(f"The answer was not ready within {self._limits.seconds:g} seconds.") from error

    async def _read(self, asked: Asked, held: Held, receive: Receive) -> Receive | None:
        """What gives the body, or None where the client went away in the middle of it."""
        whole = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                asked.gone = True
                return None
            part: bytes = message.get("body", b"")
            if len(part) + len(whole) > self._limits.body:
                raise self._too_large()
            self._gate.add(held, len(part))
            asked.received += len(part)
            if not message.get("more_body", False):
                return _once(bytes(whole + part) if whole else part)
            whole += part

    async def _work(
        self, asked: Asked, deadline: asyncio.Timeout, scope: Scope, body: Receive, receive: Receive, send: Send
    ) -> None:
        watching = asyncio.create_task(_watch(asked, deadline, receive))
        try:
            await self._app(scope, body, send)
        finally:
            watching.cancel()


async def _watch(asked: Asked, deadline: asyncio.Timeout, receive: Receive) -> None:
    """Ends the work, as its deadline would, when the client goes away before it has its answer."""
    while (await receive())["type"] != "http.disconnect":
        pass
    if not asked.complete:  # a server reports the end of a complete answer in the same way
        asked.gone = True
        _expire(deadline)


def _expire(deadline: asyncio.Timeout) -> None:
    if not deadline.expired():
        deadline.reschedule(asyncio.get_running_loop().time())


def _once(body: bytes) -> Receive:
    """The body in one message, and not kept; then nothing more, since whoever waits for the client to go is cancelled
    instead."""
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
