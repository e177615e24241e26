"""Threads over a list of work: as many as waiting makes worthwhile, and all of them stopped by the first failure."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from provisioner.errors import Unavailable

Item = TypeVar("Item")

FIRST = 4  # threads to begin with
LOOK_SECONDS = 0.05
LEAVE_SECONDS = 5.0


class Crew(Generic[Item]):
    """Calls `work` once for every item.

    Small files want many connections where a round trip is long and few where it is short: beyond one core's worth,
    Python's threads only stand in each other's way. So the crew grows while the process waits more than it computes.
    """

    def __init__(self, work: Callable[[Item], None], most: int, cancelled: threading.Event) -> None:
        self._work, self._most, self._cancelled = work, most, cancelled
        self._items: deque[Item] = deque()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._changed = threading.Condition()
        self._busy = 0
        self._looked = (time.monotonic(), time.process_time())

    def run(self, items: Iterable[Item]) -> tuple[BaseException, ...]:
        """Work through the items in order; the failures, the first of which stopped the rest.

        Raises Unavailable when not even one thread can be started.
        """
        self._items.extend(items)
        try:
            with self._changed:
                self._grow(min(FIRST, self._most))
                self._changed.wait_for(lambda: not self._busy)
        except BaseException:  # Ctrl-C and SIGTERM reach only this thread
            self._cancelled.set()
            self._join(LEAVE_SECONDS)
            raise
        self._join(None)
        return tuple(self._failures)

    def _join(self, seconds: float | None) -> None:
        """Wait for the threads; one that waits for a silent server may take longer than a pod is given to end."""
        end = time.monotonic() + (seconds or 0.0)
        for thread in self._threads:
            thread.join(None if seconds is None else max(end - time.monotonic(), 0.0))

    def _grow(self, count: int) -> None:
        """Start threads; the caller holds the lock."""
        count = min(count, self._most - len(self._threads), len(self._items))
        for _ in range(count):
            thread = threading.Thread(target=self._labour, daemon=True, name=f"transfer-{len(self._threads)}")
            try:
                thread.start()
            except RuntimeError as error:  # the limit of processes (a pod's pids): go on with those that run
                self._most = len(self._threads)
                if not self._threads:
                    raise Unavailable("No thread can be started.", hint="Raise the limit of processes.") from error
                return
            self._threads.append(thread)  # it cannot end before this lock is free
            self._busy += 1

    def _labour(self) -> None:
        try:
            while not self._cancelled.is_set():
                if time.monotonic() - self._looked[0] >= LOOK_SECONDS:
                    with self._changed:
                        self._look()
                try:
                    item = self._items.popleft()  # atomic, without a lock that all threads would wait for
                except IndexError:
                    return
                self._work(item)
        except BaseException as error:  # handed to whoever called run()
            self._cancelled.set()
            self._failures.append(error)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _look(self) -> None:
        """Grow when the last moments were mostly waiting, or when every thread computes and a core is free."""
        (then, used_then), now = self._looked, time.monotonic()
        if now - then < LOOK_SECONDS or len(self._threads) >= self._most:
            return
        used = time.process_time()
        self._looked = (now, used)
        share, threads = (used - used_then) / (now - then), len(self._threads)
        if share < 0.9 or (share > 0.9 * threads and threads < (os.cpu_count() or 1)):
            self._grow(threads)
