"""How the server ends: the drain where uvicorn has the signals, and the way out past threads that compute."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import signal
import threading
import time
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
LOADING = "provision-load"  # the name of the thread that loads the models
_COMPUTING = ("embed-", "rerank-")  # how names of threads that compute begin
_PATIENCE_S = 10.0
_SIGNALLED = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended


def _computing() -> list[threading.Thread]:
    every = threading.enumerate()
    return [thread for thread in every if thread.name == LOADING or thread.name.startswith(_COMPUTING)]


def leave_if_computing(tracing: Tracing | None) -> None:
    """End the process at once, with 0, where a thread is still inside a native library: it cannot be stopped, and
    aborts the process when it comes back while Python is being taken down."""
    if _computing():
        leave(tracing, 0)


def at_exit(step: Callable[..., None], *given: object) -> None:
    """Once for the process, however often it is asked for."""
    atexit.unregister(step)
    atexit.register(step, *given)


def await_computing(backend: LocalBackend) -> None:
    """For an end that is not ours, whose exit code stays: the threads have some seconds to come back."""
    backend.abandon()
    end = time.monotonic() + _PATIENCE_S
    for thread in _computing():
        thread.join(max(end - time.monotonic(), 0))


def leave(tracing: Tracing | None, code: int) -> NoReturn:
    """End the process at once, the last spans exported."""
    try:
        if tracing:
            tracing.close()
    finally:
        os._exit(code)


class Ending:
    """SIGTERM under a uvicorn that somebody else started: it would stop listening at once, and wait without end.

    Ends as `provision serve` does: `/readyz` says 503 for the delay, then what is at work has its time, the rest gets
    its 503, and whoever does not take that is cut off.

    Attributes:
        done: the application has ended; what is around it may live on.
    """

    def __init__(self, gate: Gate, backend: LocalBackend, tracing: Tracing | None, settings: Settings) -> None:
        self._gate, self._backend, self._tracing, self._settings = gate, backend, tracing, settings
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._signals = 0
        self.done = False

    def watch(self) -> None:
        """Comes before the handler that is set. In a thread there is none of uvicorn's, and without one the process
        just ends."""
        before = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before: Callable[[int, FrameType | None], object] = before
            signal.signal(signal.SIGTERM, self._signalled)

    @property
    def begun(self) -> bool:
        """Whether a signal came."""
        return self._signals > 0

    def over(self) -> None:
        """The application has ended: from now on the signal is only for what is around it."""
        self.done = True
        if self._timer:
            self._timer.cancel()
        if signal.getsignal(signal.SIGTERM) == self._signalled:
            signal.signal(signal.SIGTERM, self._before)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """Between any two lines of the program, so that the loop has to do the rest."""
        if self.done or self._loop.is_closed():  # somebody kept this handler to call it after their own
            self._before(number, frame)
        else:
            self._loop.call_soon_threadsafe(self._next, number)

    def _next(self, number: int) -> None:
        """The first signal drains, a second one refuses what is still at work."""
        self._signals += 1
        if self._signals == 1:
            log.info("draining", extra=fields(event="draining", seconds=self._settings.drain_delay))
            self._gate.drain()
            self._after(self._settings.drain_delay, self._end, number)
        elif self._signals == 2:
            self._hand_on(number)
            self._refuse()

    def _end(self, number: int) -> None:
        self._hand_on(number)
        self._after(self._settings.drain, self._refuse)

    def _hand_on(self, number: int) -> None:
        # The first process of a container does not die of the signal that uvicorn sends itself at the end.
        at_exit(leave_if_computing, self._tracing)
        self._before(number, None)

    def _refuse(self) -> None:
        self._closing = asyncio.ensure_future(self._backend.close())  # kept, or the loop forgets it
        # uvicorn waits for every connection, and for one whose client reads nothing without end.
        self._after(LAST_ANSWERS_S, leave, self._tracing, 0 if os.getpid() == 1 else _SIGNALLED)

    def _after(self, seconds: float, step: Callable[..., object], *given: object) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, step, *given)
