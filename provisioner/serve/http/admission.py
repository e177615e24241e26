"""How many requests are at work at once, how much their bodies hold, and whether any are taken at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from provisioner.serve.backend import Backend
from provisioner.serve.http import ids
from provisioner.serve.refusals import Busy, NotReady
from provisioner.serve.settings import Limits

_BODIES = 4  # times the greatest body: what all bodies may hold in memory
_READ = 4  # times the requests at work: bodies that are read at once
_SMALL = 2**16  # bytes of a body that has room however much others hold


class Held:
    """A body while it is read, and its bytes until its request is answered.

    Attributes:
        size: in bytes.
        dropped: whether it had to make room for others.
    """

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop
        self.size = 0
        self.dropped = False

    def drop(self) -> None:
        """End the reading."""
        self.dropped = True
        self._drop()


class Gate:
    """Counts what is at work, and knows whether the server is ending.

    A request is at work once its body is there, so one whose body does not come takes no place of others. Bodies that
    are still read hold a bounded number of places and of bytes: who was read for longest makes room for who comes.
    gRPC, which gets messages whole, takes `entered`, `hold` and `free`.

    Attributes:
        draining: `/readyz` says 503 and every answer ends its connection; requests are still answered.
        at_work: requests that ask for work.
        held: bytes of their bodies, and of those that are read.
    """

    def __init__(self, limits: Limits) -> None:
        self._requests = limits.concurrent
        self._bytes = _BODIES * limits.body
        self._read: dict[Held, None] = {}  # the longest first
        self.draining = False
        self.at_work = 0
        self.held = 0

    def drain(self) -> None:
        """From now on the server is ending."""
        self.draining = True

    def check(self) -> None:
        """Raises Busy where as many are at work as may be."""
        if self.at_work >= self._requests:
            raise Busy("The server has as many requests at work as it takes.", retry_after=1)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """For one request. Raises Busy as `check` does."""
        self.check()
        self.at_work += 1
        try:
            yield
        finally:
            self.at_work -= 1

    @contextmanager
    def holding(self, drop: Callable[[], None]) -> Iterator[Held]:
        """For one body, from before it is read until its request is answered. `drop` ends the reading."""
        held = Held(drop)
        if len(self._read) >= _READ * self._requests:
            self._make_room(next(iter(self._read)))
        self._read[held] = None
        try:
            yield held
        finally:
            self.complete(held)
            self.free(held.size)

    def add(self, held: Held, size: int) -> None:
        """Count bytes that came. Raises Busy where there are too many, though other bodies made room."""
        if held.size + size > _SMALL:
            while self.held + size > self._bytes and (other := self._longest_large(held)):
                self._make_room(other)
            self._check_bytes(size)
        self.held += size
        held.size += size

    def complete(self, held: Held) -> None:
        """A body is there, or given up."""
        self._read.pop(held, None)

    def hold(self, size: int) -> None:
        """Count bytes of a body that came whole. Raises Busy, and counts none, where there are too many."""
        if size > _SMALL:
            self._check_bytes(size)
        self.held += size

    def free(self, size: int) -> None:
        """Bytes that were counted are gone."""
        self.held -= size

    def _longest_large(self, but: Held) -> Held | None:
        return next((one for one in self._read if one is not but and one.size > _SMALL), None)

    def _check_bytes(self, size: int) -> None:
        if self.held + size > self._bytes:
            raise Busy("The requests at work hold as much memory as they may.", retry_after=1)

    def _make_room(self, held: Held) -> None:
        self.complete(held)
        self.free(held.size)
        held.size = 0
        held.drop()


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
        if scope["method"] == "POST":
            status = self._backend.status()
            if not status.ready:
                raise NotReady(status.detail or "The models are not loaded yet.", retry_after=2)
            self._gate.check()
        return await self._app(scope, receive, send)
