"""How the server ends: the drain where uvicorn has the signals, and the way out past threads that compute."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from provisioner.serve.logs import fields

if TYPE_CHECKING:
    from provisioner.serve.http.admission import Gate
    from provisioner.serve.http.tracing import Tracing
    from provisioner.serve.local import LocalBackend
    from provisioner.serve.settings import Settings

log = logging.getLogger(__name__)

LAST_ANSWERS_S = 1  # for refusals to be sent
LOADING = "start"  # the name of the thread that loads the models
_WORKERS = (LOADING, "embed-", "rerank-")  # names of threads that compute
_SIGNALLED = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended


def leave_if_computing(tracing: Tracing | None, code: int = 0) -> None:
    """End the process at once where a thread is still inside a native library: it cannot be stopped, and aborts the
    process when it comes back while Python is being taken down."""
    if any(thread.name.startswith(_WORKERS) for thread in threading.enumerate()):
        leave(tracing, code)


def leave(tracing: Tracing | None, code: int) -> NoReturn:
    """End the process at once, the last spans exported."""
    if tracing:
        tracing.close()
    os._exit(code)


class Ending:
    """SIGTERM under a uvicorn that somebody else started: it would stop listening at once, and wait without end.

    Ends as `provision serve` does: `/readyz` says 503 for the delay, then what is at work has its time, the rest gets
    its 503, and whoever does not take that is cut off.
    """

    def __init__(self, gate: Gate, backend: LocalBackend, tracing: Tracing | None, settings: Settings) -> None:
        self._gate, self._backend, self._tracing, self._settings = gate, backend, tracing, settings
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._signals = 0

    def watch(self) -> None:
        """Comes before the handler that is set. In a thread there is none of uvicorn's, and without one the process
        just ends."""
        before = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before: Callable[[int, FrameType | None], object] = before
            signal.signal(signal.SIGTERM, self._signalled)

    def over(self) -> None:
        """The application is done: what is around it may live on."""
        if self._timer:
            self._timer.cancel()
        if signal.getsignal(signal.SIGTERM) == self._signalled:
            signal.signal(signal.SIGTERM, self._before)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """Between any two lines of the program, so that the loop has to do the rest."""
        try:
            self._loop.call_soon_threadsafe(self._next, number)
        except RuntimeError:  # it is closed
            self._before(number, frame)

    def _next(self, number: int) -> None:
        """The first signal drains, a second one refuses what is still at work."""
        self._signals += 1
        if self._signals == 1:
            log.info("draining", extra=fields(event="draining", seconds=self._settings.drain_delay))
            self._gate.drain()
            self._after(self._settings.drain_delay, self._end, number)
        elif self._signals == 2:
            self._before(number, None)
            self._refuse()

    def _end(self, number: int) -> None:
        self._before(number, None)
        self._after(self._settings.drain, self._refuse)

    def _refuse(self) -> None:
        self._closing = asyncio.ensure_future(self._backend.close())  # kept, or the loop forgets it
        # uvicorn waits for every connection, and for one whose client reads nothing without end.
        self._after(LAST_ANSWERS_S, leave, self._tracing, _SIGNALLED)

    def _after(self, seconds: float, step: Callable[..., object], *given: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, step, *given)
