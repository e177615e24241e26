"""The lines of a Job's pods, for whoever wants to read them."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from provisioner.cluster.client import Cluster
from provisioner.errors import ProvisionError, Unavailable
from provisioner.ops.job.look import scene_of
from provisioner.ops.job.objects import Object, has_started, is_over, main_container, name
from provisioner.ops.job.streams import MOST, Over, Streams


def listen(
    cluster: Cluster, job: Object, every: float, note: Callable[[str], None], *, follow: bool
) -> Iterator[tuple[str, str, bool]]:
    """Pod, line, and whether there are several pods: what is there now, or with `follow` until the Job is over.

    Without `follow` one pod after the other; with it as they speak. A pod whose log cannot be had is told to `note`,
    and the others' go on. Raises what the cluster raises; Unavailable at the end where a log could not be had.
    """
    ears = _Ears(Streams(cluster, follow=follow), every, note, follow)
    known = set[str]()
    try:
        while True:
            now = cluster.get("Job", name(job)) if known or follow else job
            scene = scene_of(cluster, now or job)
            waiting = [pod for pod in scene.pods if has_started(pod) and name(pod) not in known]
            for pod in waiting[: (MOST if follow else 1) - len(ears.open)]:
                known.add(name(pod))
                ears.begin(pod)
            if not ears.open and (not follow or now is None or is_over(now)):
                return ears.end()
            yield from ears.hear(len(scene.pods) > 1)
    finally:
        ears.streams.stop()


@dataclass(slots=True)
class _Ears:
    streams: Streams
    every: float
    note: Callable[[str], None]
    follow: bool
    open: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def begin(self, pod: Object) -> None:
        self.open.add(name(pod))
        self.streams.start(name(pod), main_container(pod))

    def hear(self, several: bool) -> Iterator[tuple[str, str, bool]]:
        """The lines of so many seconds, or until a pod has no more."""
        until = time.monotonic() + self.every
        while not self.follow or time.monotonic() < until:
            try:
                left = max(until - time.monotonic(), 0) if self.follow else None
                one = self.streams.lines.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(one, Over):
                self.open.discard(one.pod)
                return self._lose(one.pod, one.why)
            yield one.pod, one.text, several

    def _lose(self, pod: str, why: ProvisionError | None) -> None:
        if why is None:
            return
        if not isinstance(why, Unavailable):
            raise why
        self.lost.append(pod)
        self.note(f"The log of {pod} cannot be read to its end: {why}")

    def end(self) -> None:
        if self.lost:
            raise Unavailable(
                f"Of {len(self.lost)} of the pods the log could not be had: {', '.join(self.lost)}.",
                hint="Where a node is gone its logs are too; provision job status has what the pods left as summary.",
            )
