"""Latencies of the last minutes, by route, in a bounded piece of memory."""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from threading import Lock

STEP = 5.0  # seconds
STEPS = 60
_LEAST = 1e-4  # seconds; the bins below grow by 5 %, so a quantile is off by 2.5 % at most
_GROWTH = log(1.05)
_BINS = int(log(1000 / _LEAST) / _GROWTH) + 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """What ended in one step.

    Attributes:
        at: its end, in seconds since 1970.
        requests: how many.
        p50, p99: of their latencies, seconds.
    """

    at: float
    requests: int
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """By route, oldest first; steps without a request are left out.

    Attributes:
        now: seconds since 1970.
        window, step: seconds.
    """

    now: float
    window: float
    step: float
    routes: dict[str, tuple[Stretch, ...]]


class _Bins:
    __slots__ = ("counts", "number", "total")

    def __init__(self, number: int) -> None:
        self.number = number
        self.total = 0
        self.counts = array("L", bytes(array("L").itemsize * _BINS))

    def add(self, seconds: float) -> None:
        place = int(log(seconds / _LEAST) / _GROWTH) + 1 if seconds > _LEAST else 0
        self.counts[min(place, _BINS - 1)] += 1
        self.total += 1

    def quantile(self, share: float) -> float:
        """Seconds that this share of the requests stayed below."""
        left = share * self.total
        for place, count in enumerate(self.counts):
            left -= count
            if count and left <= 0:
                return _LEAST * exp((place - 0.5) * _GROWTH)
        return 0.0


class Recent:
    """Keeps counts by latency for each step; routes are few, since they are labels of metrics too."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = Lock()
        self._routes: dict[str, deque[_Bins]] = {}

    def add(self, route: str, seconds: float) -> None:
        """A request that ended now."""
        number = int(self._clock() // STEP)
        with self._lock:
            steps = self._routes.get(route)
            if steps is None:
                steps = self._routes[route] = deque(maxlen=STEPS)
            if not steps or steps[-1].number != number:
                steps.append(_Bins(number))
            steps[-1].add(seconds)

    def read(self) -> Latencies:
        """The last minutes."""
        now = self._clock()
        oldest = int(now // STEP) - STEPS
        with self._lock:
            routes = {route: _series(steps, oldest) for route, steps in sorted(self._routes.items())}
        return Latencies(now, STEP * STEPS, STEP, {route: series for route, series in routes.items() if series})


def _series(steps: deque[_Bins], oldest: int) -> tuple[Stretch, ...]:
    return tuple(
        Stretch((bins.number + 1) * STEP, bins.total, bins.quantile(0.5), bins.quantile(0.99))
        for bins in steps
        if bins.number > oldest
    )
