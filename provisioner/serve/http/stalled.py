"""uvicorn's HTTP protocol, which cuts off clients that do not read their answers: uvicorn waits for them for ever.

What a client does not read stays in memory, and closing a connection in order waits until it is sent.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "provisioner.abort"  # in the scope: ends the connection without sending what is left


class Unstalled(HttpToolsProtocol):
    """Aborts a connection on which nothing of an answer could be sent for a while.

    Attributes:
        patience: seconds; a client that is slow needs to read some tens of kB in that time.
        last_patience: the same, once the server ends its connections.
    """

    patience: ClassVar[float] = 60.0
    last_patience: ClassVar[float] = 5.0

    _looking: asyncio.TimerHandle | None = None
    _unsent = 0
    _read_some = False
    _ending = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        # A key of our own, which ASGI allows and its type does not know.
        self.scope[ABORT] = self.transport.abort  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """The last of an answer was handed over, but not sent."""
        self._read_some = True
        super().on_response_complete()
        self._look_later()

    def pause_writing(self) -> None:
        """There is more of an answer than could be sent."""
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        """The client read."""
        self._read_some = True
        super().resume_writing()

    def shutdown(self) -> None:
        """The server is ending."""
        self._ending = True
        super().shutdown()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._look_later()

    def _look_later(self) -> None:
        if self._looking is None:
            self._unsent, self._read_some = self.transport.get_write_buffer_size(), False
            self._looking = self.loop.call_later(self.last_patience if self._ending else self.patience, self._look)

    def _look(self) -> None:
        self._looking = None
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent >= self._unsent and not self._read_some:
            self.transport.abort()
        elif unsent:
            self._look_later()
