"""The lines of a Job's pods, for whoever wants to read them."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator

from provisioner.cluster.client import Cluster
from provisioner.errors import ProvisionError
from provisioner.ops.job.look import scene_of
from provisioner.ops.job.objects import Object, has_started, is_over, main_container, name
from provisioner.ops.job.streams import MOST, Line, Over, Streams

_log = logging.getLogger(__name__)


def listen(cluster: Cluster, job: Object, every: float, *, follow: bool) -> Iterator[tuple[str, str, bool]]:
    """Pod, line, and whether there are several pods: what is there now, or with `follow` until the Job is over.

    Without `follow` one pod after the other; with it as they speak. Raises what the cluster raises.
    """
    lines: queue.Queue[Line | Over] = queue.Queue()
    streams, known, open_ = Streams(cluster, lines, follow=follow), set[str](), set[str]()
    waiting: list[Object] = []
    try:
        while True:
            now = cluster.get("Job", name(job)) if known or follow else job
            scene = scene_of(cluster, now or job)
            waiting = [pod for pod in scene.pods if has_started(pod) and name(pod) not in known]
            for pod in waiting[: _room(follow) - len(open_)]:
                known.add(name(pod))
                open_.add(name(pod))
                streams.start(name(pod), main_container(pod))
            if not open_ and (not follow or now is None or is_over(now)):
                return
            yield from _until(lines, open_, every, len(scene.pods) > 1, wait=not follow)
    finally:
        streams.stop()


def _room(follow: bool) -> int:
    return MOST if follow else 1


def _until(
    lines: queue.Queue[Line | Over], open_: set[str], every: float, several: bool, *, wait: bool
) -> Iterator[tuple[str, str, bool]]:
    """The lines of so many seconds, or until a pod has no more."""
    import time

    until = time.monotonic() + every
    while wait or time.monotonic() < until:
        try:
            one = lines.get(timeout=None if wait else max(until - time.monotonic(), 0))
        except queue.Empty:
            return
        if isinstance(one, Over):
            open_.discard(one.pod)
            _tell(one.why)
            return
        yield one.pod, one.text, several


def _tell(why: ProvisionError | None) -> None:
    if why is not None:
        raise why
