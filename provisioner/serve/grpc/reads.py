"""Messages on their way: as many at once as there is memory for.

What gRPC holds of a message is counted by nobody until it is whole. But it lets a client send no more than a window of
the connection until the message is asked for, so the memory is bounded by how many are asked for at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from provisioner.serve.refusals import Busy, SlowBody

_EVERYONE = ""  # who waits for a place at all; others wait for one of their connection's


@dataclass(frozen=True, slots=True)
class _Reading:
    """A message that is being read."""

    peer: str
    began: float
    deadline: asyncio.Timeout


class Reads:
    """Reads messages: those of one connection in turn, and connections in turn.

    Args:
        places: messages at once. A connection has half of them at most: one client does not keep all others out.
        calls: that wait for a place or are read; more are refused.
        seconds: for one message to arrive.
        patience: the same, where others wait for the place.
    """

    def __init__(self, places: int, calls: int, seconds: float, patience: float) -> None:
        self._room = asyncio.Semaphore(places)
        self._each = max(1, places // 2)
        self._most = calls
        self._seconds = seconds
        self._patience = min(patience, seconds)
        self._calls = 0
        self._connections: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: Counter[str] = Counter()
        self._reading: set[_Reading] = set()

    async def read(self, peer: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What `ask` gives. Raises Busy, SlowBody, and what it raises."""
        if self._calls >= self._most:
            raise Busy("The server waits for as many messages as it may.", retry_after=1)
        self._calls += 1
        deadline = asyncio.timeout(self._seconds)
        begun = False
        try:
            async with deadline, self._place(peer):
                begun = True
                reading = self._began(peer, deadline)
                try:
                    return await ask()
                finally:
                    self._reading.discard(reading)
        except TimeoutError:
            if begun:
                raise SlowBody("The message did not arrive in time.") from None
            raise Busy("The server reads as many messages at once as it may.", retry_after=1) from None
        finally:
            self._calls -= 1

    @asynccontextmanager
    async def _place(self, peer: str) -> AsyncIterator[None]:
        connection = self._connections.get(peer)
        if connection is None:
            self._connections[peer] = connection = asyncio.Semaphore(self._each)
        async with self._turn(connection, peer), self._turn(self._room, _EVERYONE):
            yield

    @asynccontextmanager
    async def _turn(self, semaphore: asyncio.Semaphore, whose: str) -> AsyncIterator[None]:
        if semaphore.locked():
            self._waiting[whose] += 1
            self._press()
            try:
                await semaphore.acquire()
            finally:
                self._waiting[whose] -= 1
                if not self._waiting[whose]:
                    del self._waiting[whose]
        else:
            await semaphore.acquire()
        try:
            yield
        finally:
            semaphore.release()

    def _began(self, peer: str, deadline: asyncio.Timeout) -> _Reading:
        """The time in which it waited for its place is not that of the client."""
        now = asyncio.get_running_loop().time()
        deadline.reschedule(now + self._seconds)
        reading = _Reading(peer, now, deadline)
        self._reading.add(reading)
        self._press()
        return reading

    def _press(self) -> None:
        """Where others wait for its place, a message has less time."""
        for one in self._reading:
            when = one.deadline.when()
            # One that has expired cannot be given another time; it is about to give its place up.
            if self._others(one.peer) and when is not None and not one.deadline.expired():
                one.deadline.reschedule(min(when, one.began + self._patience))

    def _others(self, peer: str) -> bool:
        return bool(self._waiting[_EVERYONE] or self._waiting[peer])
