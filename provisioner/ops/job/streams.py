"""The logs of a Job's pods, each read in a thread of its own and read on after a cut."""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass

from provisioner.cluster.client import Cluster
from provisioner.errors import NotFound, ProvisionError, Unavailable
from provisioner.ops.job.log import Tail
from provisioner.ops.job.objects import is_done

_log = logging.getLogger(__name__)

MOST = 32  # logs at once; the pods beyond are followed by their state until one ends
_PAUSES = (0.2, 1.0, 3.0, 6.0)  # seconds before a cut stream is asked for again, while it gives nothing
_TRIES = 4  # for a pod that is over: its node may be gone, and its log with it
_AHEAD = 256  # lines that are read before somebody takes them


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pod's log, without its time."""

    pod: str
    text: str


@dataclass(frozen=True, slots=True)
class Over:
    """No more lines of a pod will come; `why` is what kept them from being read, or None."""

    pod: str
    why: ProvisionError | None = None


class Streams:
    """Reads logs and puts their lines into one queue, `lines`, which holds so many that a fast log waits."""

    def __init__(self, cluster: Cluster, *, follow: bool = True) -> None:
        self.lines: queue.Queue[Line | Over] = queue.Queue(_AHEAD)
        self._cluster = cluster
        self._follow = follow
        self._stop = threading.Event()

    def start(self, pod: str, container: str) -> None:
        """Begin with a pod whose container has started."""
        threading.Thread(target=self._read, args=(pod, container), name=f"log {pod}", daemon=True).start()

    def stop(self) -> None:
        """Let the threads end; one that waits for a silent server is a daemon and holds nothing up."""
        self._stop.set()

    def _read(self, pod: str, container: str) -> None:
        try:
            self._all(pod, container)
        except ProvisionError as error:
            gone = isinstance(error, NotFound)
            self._put(Over(pod, None if gone else error))
        except Exception:
            if not self._stop.is_set():  # later the connections are closed under it
                _log.exception("the log of %s", pod)  # in a thread nobody else would hear of it
            self._put(Over(pod))
        else:
            self._put(Over(pod))

    def _put(self, one: Line | Over) -> None:
        while not self._stop.is_set():
            try:
                self.lines.put(one, timeout=0.5)
            except queue.Full:
                continue
            return

    def _all(self, pod: str, container: str) -> None:
        tail, empty, failed = Tail(), 0, 0
        while not self._stop.is_set():
            before, given = not self._follow or self._ended(pod), tail.given
            try:
                self._once(pod, container, tail, follow=not before)
            except Unavailable as error:
                _log.info("the log of %s was cut: %s", pod, error)
                failed = failed + 1 if before and tail.given == given else 0
                if failed == _TRIES:
                    raise
            else:
                if before:  # what ended before it was read to its end has nothing more to say
                    return
            empty = 0 if tail.given > given else min(empty + 1, len(_PAUSES) - 1)
            tail.cut()
            self._stop.wait(_PAUSES[empty])

    def _ended(self, pod: str) -> bool:
        try:
            found = self._cluster.get("Pod", pod)
        except Unavailable:
            return False
        return found is None or is_done(found)

    def _once(self, pod: str, container: str, tail: Tail, *, follow: bool) -> None:
        for line in self._cluster.log(pod, container, tail.since, follow=follow):
            if self._stop.is_set():
                break
            if (text := tail.fresh(line)) is not None:
                self._put(Line(pod, text))
