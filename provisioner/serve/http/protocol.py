"""uvicorn's HTTP protocol, with limits for the head of a request: uvicorn itself has none with httptools.

What comes before the application sees a request is bounded here: the head in bytes and in time, and what stands
between the pieces of a body and behind it (chunk extensions, trailers), of which the application never hears.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from provisioner.serve.http import ids
from provisioner.serve.http.access_log import note
from provisioner.serve.http.apis.answers import failure
from provisioner.serve.http.ids import Asked
from provisioner.serve.http.routes import OTHER
from provisioner.serve.http.stalled import Unstalled
from provisioner.serve.instruments import Instruments
from provisioner.serve.refusals import LongHead, Refused, SlowHead
from provisioner.serve.settings import Limits

MOST = 2**16  # bytes of a head; clients and proxies send a few hundred, with cookies a few thousand
_LINGER = 1.0  # seconds


class Bounded(Unstalled):
    """Refuses a head of more than MOST bytes with 431, and one that does not arrive in time with 408.

    The time counts from the first byte of a head, and for the first one from the connection; a timer is made for
    heads that come in pieces only. Between requests `timeout_keep_alive` counts. A pipelined head may be longer by what
    was received together with the request before it.

    Attributes:
        seconds: for a head to arrive.
        instruments: told of refusals; None tells nobody.
    """

    seconds: ClassVar[float] = Limits().body_seconds
    instruments: ClassVar[Instruments | None] = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._in_head = True  # or before one
        self._ended: object = None  # the scope of the request that ended last; another one is of a head that began
        self._moved = False  # whether what was parsed last brought a request further
        self._count = 0  # bytes since that was so
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    # uvicorn narrows asyncio's type of a transport, and so does this.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as it keeps the limits."""
        if self._over:
            return  # what a refused client still sends
        if self._in_head and len(data) > MOST - self._count:
            first, data = data[: MOST - self._count], data[MOST - self._count :]
            self._feed(first)
            if not self._moved:
                self._refuse(LongHead(f"The head of the request is larger than the {MOST} bytes that are read."))
            if self._over or self.transport.is_closing():
                return
        self._feed(data)
        if self._count > MOST:
            self._refuse(LongHead(f"There are more than {MOST} bytes between the parts of the body, or behind it."))
        elif self._in_head and self._timer is None and (self._begun or not self._moved):
            self._watch()

    def on_headers_complete(self) -> None:
        """The last byte of it."""
        super().on_headers_complete()
        self._in_head, self._moved = False, True
        if self._timer is not None:
            self._unwatch()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        super().on_body(body)
        self._moved = True

    def on_message_complete(self) -> None:
        """The end of the request."""
        super().on_message_complete()
        self._in_head, self._ended, self._moved = True, self.scope, True

    @property
    def _begun(self) -> bool:
        return self._in_head and self.scope is not self._ended

    def _feed(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        self._count = 0 if self._moved else self._count + len(data)

    def _watch(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self._begun or self._count:
            self._refuse(SlowHead(f"The head of the request did not arrive within {self.seconds:g} seconds."))
        else:
            self.transport.close()  # a connection that nobody used

    def _refuse(self, refused: Refused) -> None:
        if self.transport.is_closing():
            return
        self._over = True
        self._unwatch()
        asked = Asked(ids.given_or_new(b""), OTHER, "", OTHER, {}, status=refused.status, refused=refused.kind)
        if self.instruments is not None:
            note(asked, self.instruments, request_id=asked.id)
        if not self._in_head:
            self.transport.close()  # the application, which waits for the body, learns that its client is gone
        elif self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # the request before is answered, then the connection ends
        else:
            self._answer(failure(refused, asked.id), asked.id)

    def _answer(self, response: Response, request_id: str) -> None:
        """Send it, and go on reading for a while: see `body.linger`."""
        head = [*response.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = [name + b": " + value + b"\r\n" for name, value in head]
        self.transport.write(b"".join([STATUS_LINE[response.status_code], *lines, b"\r\n", bytes(response.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)


def bounded(seconds: float, told: Instruments) -> type[Bounded]:
    """For `uvicorn.Config(http=...)`: heads have so many seconds, and refusals are logged and counted."""

    class Told(Bounded):
        """With the settings of a server."""

    Told.seconds, Told.instruments = seconds, told
    return Told
