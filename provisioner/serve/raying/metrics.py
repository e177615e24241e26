"""What lanes report, as metrics of Ray: Prometheus reads them where it reads Ray's own, from every node."""

from __future__ import annotations

import time

from ray.util.metrics import Counter, Gauge, Histogram

from provisioner.serve.batching.watch import Ran

_PREFIX = "provision_serve"
_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
_LANES = ("task", "lane")


class RayWatch:
    """A Watch. Names as at `/metrics` of the local server.

    Attributes:
        last: when a batch was computed last, in seconds of the monotonic clock.
    """

    def __init__(self) -> None:
        self.last = 0.0
        self._size = Histogram(f"{_PREFIX}_batch_size_texts", "Texts that were computed at once.", _SIZES, _LANES)
        self._wait = Histogram(f"{_PREFIX}_queue_wait_seconds", "From tokens to the engine.", _SECONDS, _LANES)
        self._run = Histogram(f"{_PREFIX}_engine_run_seconds", "One batch in the engine.", _SECONDS, _LANES)
        self._tokens = Counter(f"{_PREFIX}_engine_tokens", "Tokens that engines computed, without padding.", ("task",))
        self._failed = Counter(f"{_PREFIX}_engine_failures", "Batches that an engine failed on.", ("task",))
        self._queue = Gauge(f"{_PREFIX}_queue_depth_texts", "Texts that wait.", ("task",))

    def ran(self, ran: Ran) -> None:
        """After each batch."""
        task, lane = {"task": ran.task}, {"task": ran.task, "lane": ran.lane}
        self._size.observe(ran.size, lane)
        self._run.observe(ran.seconds, lane)
        self._wait.observe(max(ran.waits), lane)
        self._tokens.inc(ran.tokens, task)
        if ran.failed:
            self._failed.inc(1, task)
        else:
            self.last = time.monotonic()

    def waiting(self, task: str, texts: int) -> None:
        """How many texts wait now."""
        self._queue.set(texts, {"task": task})
