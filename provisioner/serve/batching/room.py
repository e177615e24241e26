"""How many texts may wait for one model, and when to come back if there is no room."""

from __future__ import annotations

import math
from threading import Lock

from provisioner.serve.batching.watch import Watch
from provisioner.serve.refusals import Busy

_KEPT = 0.9  # of what was measured before, at each batch
_LONGEST = 60  # seconds that a client is told to stay away, at most


class Room:
    """Counts the texts of one model that are being tokenised or queued. Thread-safe."""

    def __init__(self, task: str, limit: int, watch: Watch) -> None:
        self.limit = limit
        self._task = task
        self._watch = watch
        self._lock = Lock()
        self._waiting = 0
        self._texts = self._seconds = 0.0

    @property
    def waiting(self) -> int:
        """Texts, now."""
        return self._waiting

    def enter(self, texts: int) -> None:
        """Lets texts in. Raises Busy if there is no room for all of them."""
        with self._lock:
            over = self._waiting + texts - self.limit
            if over > 0:
                raise Busy("The queue of the model is full.", retry_after=self._until(over))
            self._waiting += texts
            self._watch.waiting(self._task, self._waiting)

    def leave(self, texts: int) -> None:
        """Texts that are being computed now, or that nobody wants any more."""
        if not texts:
            return
        with self._lock:
            self._waiting -= texts
            self._watch.waiting(self._task, self._waiting)

    def ran(self, texts: int, seconds: float) -> None:
        """A batch that was computed, for the rate."""
        with self._lock:
            self._texts = self._texts * _KEPT + texts
            self._seconds = self._seconds * _KEPT + seconds

    def _until(self, texts: int) -> int:
        """Whole seconds until so many are computed, at the rate of the last batches."""
        seconds = texts * self._seconds / self._texts if self._texts else 0.0
        return min(max(math.ceil(seconds), 1), _LONGEST)
