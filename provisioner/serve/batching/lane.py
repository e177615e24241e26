"""Threads that run an engine, and the line of items before them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Condition, Lock, Thread
from time import monotonic

import numpy as np

from provisioner.serve import logs
from provisioner.serve.backend import Spent
from provisioner.serve.batching.order import Bounds, Line, Waiting
from provisioner.serve.batching.room import Room
from provisioner.serve.batching.watch import Ran, Watch
from provisioner.serve.engines.interface import Engine, Floats, Item
from provisioner.serve.refusals import Failed, NotReady, Refused

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Done:
    """Rows of a request's items, and what they took."""

    rows: Floats
    spent: Spent


class _Job:
    """A request's items in one lane: its rows are filled by the lane's threads, its future belongs to the loop."""

    __slots__ = ("_began", "_future", "_left", "_lock", "_loop", "_rows", "_size", "since")

    def __init__(self, size: int) -> None:
        self.since = monotonic()
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Done] = self._loop.create_future()
        self._size = self._left = size
        self._rows: Floats | None = None
        self._began = math.inf
        self._lock = Lock()

    async def answer(self) -> Done:
        return await self._future

    def fill(self, indices: Sequence[int], rows: Floats, began: float) -> None:
        """Rows of a batch that began then, of the clock `monotonic`."""
        with self._lock:
            self._began = min(self._began, began)
            self._fill(indices, rows)

    def _fill(self, indices: Sequence[int], rows: Floats) -> None:
        if self._rows is None:
            self._rows = np.empty((self._size, *rows.shape[1:]), dtype=rows.dtype)
        if rows.shape[1:] != self._rows.shape[1:]:  # numpy would stretch a row of one number
            raise ValueError(f"rows of {rows.shape[1:]} after rows of {self._rows.shape[1:]}")
        self._rows[indices] = rows
        self._left -= len(indices)
        if not self._left:
            self._tell(Done(self._rows, Spent(self._began - self.since, monotonic() - self._began)))

    def fail(self, refused: Refused) -> None:
        self._tell(refused)

    def _tell(self, outcome: Done | Refused) -> None:
        try:
            self._loop.call_soon_threadsafe(self._set, outcome)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _log.debug("An answer came after the end of the event loop.")

    def _set(self, outcome: Done | Refused) -> None:
        if self._future.done():
            return
        if isinstance(outcome, Refused):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)


class Lane:
    """Batches for one engine, as many at once as it has threads.

    An idle thread runs what comes at once, and several idle ones share it. What came while all were busy goes together.

    Args:
        threads: that run batches.
        wait: seconds after a batch in which a lane that is in use waits for as many as were in it; 0 never waits.
        room: told of each text that leaves the line.
    """

    def __init__(
        self,
        name: str,
        task: str,
        engine: Engine,
        bounds: Bounds,
        *,
        threads: int = 1,
        wait: float = 0.0,
        room: Room,
        watch: Watch,
    ) -> None:
        self._name, self._task = name, task
        self._engine = engine
        self._room = room
        self._watch = watch
        self._wait = wait
        self._line = Line[_Job](bounds)
        self._changed = Condition()
        self._closed = False
        self._idle = 0  # threads that wait for items
        self._last = 0  # items of the batch before, and when it ended
        self._ended = 0.0
        self._threads = [Thread(target=self._work, name=f"{task}-{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, items: Sequence[Item]) -> Done:
        """Rows of the items, in their order; (n, dimensions) or (n,). The items have entered the room before.

        Raises Failed if the engine fails on one of their batches, NotReady if the lane is closed.
        """
        job = _Job(len(items))
        with self._changed:
            closed = self._closed
            if not closed:
                self._line.add(items, job, job.since)
                self._changed.notify_all()
        if closed:
            self._room.leave(len(items))
            raise NotReady("The server is ending.", retry_after=1)
        try:
            return await job.answer()
        except asyncio.CancelledError:
            self._drop(job)
            raise

    def close(self) -> None:
        """Lets nothing in any more. What waits is still computed, then the threads end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Refuses what still waits."""
        with self._changed:
            left = self._line.clear()
        self._room.leave(len(left))
        for job in _jobs(left):
            job.fail(NotReady("The server ended before the answer was ready.", retry_after=1))

    def join(self, seconds: float) -> bool:
        """Whether the threads of a closed lane ended within so many seconds. Blocks."""
        end = monotonic() + seconds
        for thread in self._threads:
            thread.join(max(end - monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _drop(self, job: _Job) -> None:
        with self._changed:
            dropped = self._line.drop(job)
        self._room.leave(dropped)

    def _work(self) -> None:
        while batch := self._next():
            self._room.leave(len(batch))
            self._run(batch)

    def _next(self) -> list[Waiting[_Job]]:
        """The next batch, as soon as there is one; empty when the lane is closed and nothing waits."""
        with self._changed:
            self._idle += 1
            try:
                while True:
                    self._changed.wait_for(lambda: self._line or self._closed)
                    if self._wait and not self._closed:
                        self._linger()
                    if (batch := self._line.take(self._share())) or self._closed:
                        return batch
            finally:
                self._idle -= 1

    def _share(self) -> int:
        """Of what waits, as much as each of the idle threads can have."""
        return -(-len(self._line) // self._idle)

    def _linger(self) -> None:
        """Waits for those whose answers went out together just now: they often come back together."""
        seconds = self._ended + self._wait - monotonic()
        if seconds > 0 and 0 < len(self._line) < self._last:
            self._changed.wait_for(lambda: len(self._line) >= self._last or self._closed, seconds)

    def _run(self, batch: Sequence[Waiting[_Job]]) -> None:
        began = monotonic()
        rows: Floats | None = None
        try:
            rows = self._engine.run([one.item for one in batch])
            if len(rows) != len(batch):
                raise ValueError(f"{len(rows)} rows for {len(batch)} items")
        except Exception as error:  # whatever a native library raises: the lane has to live on
            rows = None
            _report(error, self._task, len(batch))
        ended = monotonic()
        self._last, self._ended = len(batch), ended
        self._observe(batch, began, ended, rows is None)
        if rows is not None:
            try:
                _hand_out(batch, rows, began)
            except Exception as error:  # rows of another width than this request's others, or no memory for them
                rows = None
                _report(error, self._task, len(batch))
        if rows is None:
            self._fail(batch)

    def _fail(self, batch: Sequence[Waiting[_Job]]) -> None:
        for job in _jobs(batch):
            self._drop(job)
            job.fail(Failed("The engine failed on this request, or on one that shared its batch."))

    def _observe(self, batch: Sequence[Waiting[_Job]], began: float, ended: float, failed: bool) -> None:
        lengths = [one.item.length for one in batch]
        seconds = ended - began
        self._room.ran(len(batch), seconds / len(self._threads))
        self._watch.ran(
            Ran(
                self._task,
                self._name,
                len(batch),
                tokens=sum(lengths),
                padded=len(batch) * max(lengths),
                waits=tuple(began - one.since for one in batch),
                seconds=seconds,
                failed=failed,
            )
        )


def _jobs(items: Iterable[Waiting[_Job]]) -> list[_Job]:
    """The requests that items are of, once each."""
    return list(dict.fromkeys(one.owner for one in items))


def _hand_out(batch: Sequence[Waiting[_Job]], rows: Floats, began: float) -> None:
    places: dict[_Job, list[int]] = {}
    for place, one in enumerate(batch):
        places.setdefault(one.owner, []).append(place)
    for job, mine in places.items():
        job.fill([batch[place].index for place in mine], rows[mine], began)


def _report(error: Exception, task: str, size: int) -> None:
    """Without the messages that may hold what the engine worked on."""
    facts = logs.fields(event="batch_failed", task=task, texts=size, trace=logs.trace(error))
    _log.error("A batch failed.", extra=facts)
