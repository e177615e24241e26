"""The lanes of one model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from provisioner.serve.backend import Spent
from provisioner.serve.batching.lane import Lane
from provisioner.serve.batching.order import Bounds
from provisioner.serve.batching.room import Room
from provisioner.serve.batching.tokenising import Tokeniser
from provisioner.serve.batching.watch import Watch
from provisioner.serve.engines.interface import Engine, Floats, Input, Item
from provisioner.serve.settings import Role

# A request for the lane of queries: so few texts, and not more work than one text of a usual model's greatest length.
QUERY_TEXTS = 4
QUERY_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Computed:
    """Rows in the order of the inputs, (n, dimensions) or (n,), the tokens that they took, and the time."""

    rows: Floats
    tokens: int
    spent: Spent


class Lanes:
    """One engine behind one lane (indexing), or behind one for queries and one for all else (inference).

    Engines compute several batches at once, so a query shares the cores with bulk and does not wait for it. Measured on
    2 busy cores with ONNX Runtime, beside a client that embeds 32 texts of 256 tokens again and again: the median query
    took 1.6 to 2.8 times as long as without it. In one lane that takes queries first it took 8 times as long with bulk
    batches of one text, and 27 times or more with batches of 8, since it waits for the batch at work; in one lane for
    all, 35 times or more.

    Args:
        limit: texts that wait, at most.
    """

    def __init__(
        self, task: str, engine: Engine, role: Role, bounds: Bounds, *, wait: float, limit: int, watch: Watch
    ) -> None:
        self._room = Room(task, limit, watch)
        self._tokeniser = Tokeniser(engine, task)
        several = engine.about.batches
        self._bulk = Lane("bulk", task, engine, bounds, threads=several, room=self._room, watch=watch)
        self._query = self._bulk
        if role is Role.INFERENCE:
            self._query = Lane("query", task, engine, bounds, wait=wait, room=self._room, watch=watch)

    @property
    def waiting(self) -> int:
        """Texts that are being tokenised or queued."""
        return self._room.waiting

    async def compute(
        self, inputs: Sequence[Input], max_length: int | None, check: Callable[[Sequence[Item]], None]
    ) -> Computed:
        """Rows of inputs. `check` may refuse their items before they are queued. When it is cancelled, what still
        waits of the inputs is not computed.

        Raises Busy if there is no room for them, NotReady after `close`, Failed if the engine fails, and what
        Engine.tokenize and `check` raise.
        """
        self._room.enter(len(inputs))
        try:
            items = await self._tokeniser.items(inputs, max_length)
            check(items)
        except BaseException:  # cancellation too: the room must not stay taken
            self._room.leave(len(inputs))
            raise
        lane = self._query if _is_query(items) else self._bulk
        done = await lane.run(items)
        return Computed(done.rows, sum(item.length for item in items), done.spent)

    def abandon(self) -> None:
        """Refuses what waits, and ends the threads when what they do now is done."""
        for lane in (self._bulk, self._query):
            lane.close()
            lane.abandon()
        self._tokeniser.close()

    async def close(self, seconds: float) -> None:
        """Computes what waits, for so many seconds, refuses the rest with NotReady, and ends the threads."""
        lanes = {self._bulk, self._query}
        for lane in lanes:
            lane.close()
        end = monotonic() + seconds
        for lane in lanes:
            await asyncio.to_thread(lane.join, max(end - monotonic(), 0.0))
        for lane in lanes:
            lane.abandon()
        self._tokeniser.close()


def _is_query(items: Sequence[Item]) -> bool:
    return len(items) <= QUERY_TEXTS and len(items) * max(item.length for item in items) <= QUERY_TOKENS
