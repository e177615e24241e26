"""What the instruments remember of the last minutes, for the charts."""

from __future__ import annotations

from typing import Protocol

from provisioner.serve.page.document import LatencyFacts, LatencyPoint, RouteLatency
from provisioner.serve.recent import Latencies, Stretch


class Instruments(Protocol):
    """Whoever measures requests."""

    def latencies(self) -> Latencies:
        """By route, of the last minutes."""


def latency_facts(latencies: Latencies) -> LatencyFacts:
    """In milliseconds."""
    return LatencyFacts(
        now=latencies.now,
        window_seconds=latencies.window,
        step_seconds=latencies.step,
        routes=tuple(RouteLatency(route, tuple(map(_point, points))) for route, points in latencies.routes.items()),
    )


def _point(stretch: Stretch) -> LatencyPoint:
    return LatencyPoint(stretch.at, stretch.requests, round(stretch.p50 * 1000, 3), round(stretch.p99 * 1000, 3))
