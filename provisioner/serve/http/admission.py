"""How many requests are at work at once, and whether any are taken at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner.serve.backend import Backend
from provisioner.serve.http import ids
from provisioner.serve.refusals import Busy, NotReady
from provisioner.serve.settings import Limits

_BODIES = 4  # times the greatest body: what all bodies at work may hold in memory


class Gate:
    """Counts what is at work, and knows whether the server is ending.

    Attributes:
        draining: `/readyz` says 503 and every answer ends its connection; requests are still answered.
        at_work: requests that ask for work.
        held: bytes of their bodies.
    """

    def __init__(self, limits: Limits) -> None:
        self._requests = limits.concurrent
        self._bytes = _BODIES * limits.body
        self.draining = False
        self.at_work = 0
        self.held = 0

    def drain(self) -> None:
        """From now on the server is ending."""
        self.draining = True

    @contextmanager
    def entered(self) -> Iterator[None]:
        """For one request. Raises Busy where as many are at work as may be."""
        if self.at_work >= self._requests:
            raise Busy("The server has as many requests at work as it takes.", retry_after=1)
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1

    def hold(self, size: int) -> None:
        """Count bytes of a body that came. Raises Busy, and counts none, where there are too many."""
        if self.held + size > self._bytes:
            raise Busy("The requests at work hold as much memory as they may.", retry_after=1)
        self.held += size

    def free(self, size: int) -> None:
        """Bytes that were counted are gone."""
        self.held -= size


class Admission:
    """Lets requests for work in while the models are there and there is room."""

    def __init__(self, app: ASGIApp, backend: Backend, gate: Gate) -> None:
        self._app = app
        self._backend = backend
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request through. Raises Busy, NotReady."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if self._gate.draining:
            ids.of(scope).close = True
        if scope["method"] != "POST":
            return await self._app(scope, receive, send)
        status = self._backend.status()
        if not status.ready:
            raise NotReady(status.detail or "The models are not loaded yet.", retry_after=2)
        with self._gate.entered():
            return await self._app(scope, receive, send)
