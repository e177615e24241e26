"""SIGTERM where uvicorn was started by somebody else, who stops listening at once: first the drain delay."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

from provisioner.serve.logs import fields

if TYPE_CHECKING:
    from provisioner.serve.http.admission import Gate
    from provisioner.serve.local import LocalBackend
    from provisioner.serve.settings import Settings

log = logging.getLogger(__name__)

_Handler = Callable[[int, FrameType | None], object]


def drain_first(gate: Gate, backend: LocalBackend, settings: Settings) -> None:
    """Puts the drain before the handler that is set, where there is one; call it in the event loop.

    In a thread there is none of uvicorn's, and a process without one just ends.
    """
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and callable(before):
        ending = _Ending(gate, backend, settings, before)
        signal.signal(signal.SIGTERM, ending.signalled)


class _Ending:
    """As `provision serve` ends: `/readyz` says 503 for the delay, what is at work has its time, the rest its 503."""

    def __init__(self, gate: Gate, backend: LocalBackend, settings: Settings, before: _Handler) -> None:
        self._gate, self._backend, self._settings = gate, backend, settings
        self._before = before
        self._loop = asyncio.get_running_loop()
        self._signals = 0

    def signalled(self, number: int, _frame: FrameType | None) -> None:
        """Between any two lines of the program, so that the loop has to do the rest."""
        self._loop.call_soon_threadsafe(self._next, number)

    def _next(self, number: int) -> None:
        """The first signal drains, a second one refuses what is still at work."""
        self._signals += 1
        if self._signals == 1:
            log.info("draining", extra=fields(event="draining", seconds=self._settings.drain_delay))
            self._gate.drain()
            self._loop.call_later(self._settings.drain_delay, self._end, number)
        elif self._signals == 2:
            self._end(number)
            self._refuse()

    def _end(self, number: int) -> None:
        self._before(number, None)
        self._loop.call_later(self._settings.drain, self._refuse)

    def _refuse(self) -> None:
        self._closing = asyncio.ensure_future(self._backend.close())  # kept, or the loop forgets it
