"""Messages that wait for a place to be read in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from provisioner.serve.grpc.reads import Reads
from provisioner.serve.refusals import Busy, SlowBody

LONG_S = 600.0


class Clients:
    """Calls whose messages come when a test says so; which of them are being read."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        self.begun: list[str] = []
        self.sent: dict[str, asyncio.Event] = {}

    def call(self, peer: str, name: str) -> asyncio.Task[Any]:
        self.sent[name] = asyncio.Event()

        async def message() -> str:
            self.begun.append(name)
            await self.sent[name].wait()
            return name

        return asyncio.create_task(self.reads.read(peer, message))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, LONG_S / 2))


def test_no_more_at_once_than_there_are_places() -> None:
    async def test() -> None:
        clients = Clients(Reads(4, 100, LONG_S, LONG_S))
        tasks = [clients.call(f"peer {number}", str(number)) for number in range(8)]
        await settle()
        assert clients.begun == ["0", "1", "2", "3"]
        clients.sent["2"].set()
        await settle()
        assert clients.begun[4:] == ["4"] and tasks[2].result() == "2"
        tasks[0].cancel()
        tasks[5].cancel()  # one that waits
        await settle()
        assert clients.begun[5:] == ["6"]
        for sent in clients.sent.values():
            sent.set()
        assert await asyncio.gather(*tasks[6:], tasks[1]) == ["6", "7", "1"]

    run(test())


def test_a_connection_has_half_of_the_places() -> None:
    async def test() -> None:
        clients = Clients(Reads(4, 100, LONG_S, LONG_S))
        for number in range(6):
            clients.call("greedy", f"greedy {number}")
        other = clients.call("other", "other")
        await settle()
        assert clients.begun == ["greedy 0", "greedy 1", "other"]
        clients.sent["other"].set()
        assert await other == "other"

    run(test())


def test_one_that_others_wait_for_has_less_time() -> None:
    async def test() -> None:
        clients = Clients(Reads(2, 100, LONG_S, 0.05))
        first, alone = clients.call("a", "first"), clients.call("b", "alone")
        await asyncio.sleep(0.2)
        assert not first.done() and not alone.done()
        second = clients.call("a", "second")
        with pytest.raises(SlowBody):
            await first
        await settle()
        assert clients.begun[2:] == ["second"]
        assert not second.done() and not alone.done()  # nobody waits for these

    run(test())


def test_one_that_began_while_others_wait_has_less_time_too() -> None:
    async def test() -> None:
        clients = Clients(Reads(2, 100, LONG_S, 0.05))
        tasks = [clients.call("a", str(number)) for number in range(4)]
        for task in tasks[:3]:
            with pytest.raises(SlowBody):
                await task
        await asyncio.sleep(0.2)
        assert not tasks[3].done()
        clients.sent["3"].set()
        assert await tasks[3] == "3"

    run(test())


def test_a_message_has_its_time_only_once_it_is_read() -> None:
    async def test() -> None:
        clients = Clients(Reads(1, 100, 0.2, 0.2))
        with pytest.raises(SlowBody):
            await clients.call("a", "alone")
        tasks = [clients.call("a", "reads"), clients.call("a", "waits")]
        with pytest.raises(SlowBody):
            await tasks[0]
        with pytest.raises((Busy, SlowBody)):  # as its place comes free in the last moment of its waiting, or not
            await tasks[1]

    run(test())


def test_too_many_that_wait() -> None:
    async def test() -> None:
        clients = Clients(Reads(1, 3, LONG_S, LONG_S))
        tasks = [clients.call("a", str(number)) for number in range(3)]
        await settle()
        with pytest.raises(Busy) as busy:
            await clients.call("b", "late")
        assert busy.value.retry_after == 1
        tasks[1].cancel()
        await settle()
        clients.call("b", "next")
        for sent in clients.sent.values():
            sent.set()
        assert await tasks[2] == "2"
        assert clients.begun == ["0", "next", "2"]  # the other connection's turn

    run(test())


def test_a_read_that_fails_gives_its_place_up() -> None:
    async def test() -> None:
        async def failing() -> None:
            raise OSError

        reads = Reads(1, 1, LONG_S, LONG_S)
        for _ in range(3):
            with pytest.raises(OSError):
                await reads.read("a", failing)

    run(test())
