"""Follow Jobs to their end: their pods' logs as one progress, trouble as soon as it is seen."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from provisioner.cluster.client import Cluster
from provisioner.errors import NotFound, Unavailable
from provisioner.ops.job import refusals
from provisioner.ops.job.containers import ended
from provisioner.ops.job.log import Failure, Reader, Result
from provisioner.ops.job.look import scene_of, with_namespace
from provisioner.ops.job.objects import (
    End,
    Object,
    condition,
    has_started,
    index,
    is_complete,
    is_done,
    is_over,
    main_container,
    name,
)
from provisioner.ops.job.progress import Sum
from provisioner.ops.job.scene import Scene, Trouble
from provisioner.ops.job.streams import MOST, Line, Over, Streams
from provisioner.ops.job.trouble import troubles
from provisioner.ports.events import Observer

_DRAIN = 15.0  # seconds that the logs of a Job that is over get to be read to their end
_PATIENCE = 300.0  # seconds without an answer of the API server


@dataclass(slots=True)
class PodRecord:
    """What became of one pod.

    Attributes:
        result: the JSON document it printed, or None.
        failure: the failure it printed, or None.
    """

    name: str
    job: str
    index: int
    end: End | None = None
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    trouble: Trouble | None = None
    reader: Reader = field(default_factory=Reader)
    reading: bool = False
    read: bool = False
    reported: bool = False


@dataclass(slots=True)
class JobRecord:
    """What became of one Job.

    Attributes:
        exit_code: of the Job's last pod that says why it ended; None while it runs.
        trouble: what it failed of, or what keeps it now.
    """

    name: str
    pods: dict[str, PodRecord] = field(default_factory=dict)
    object: Object | None = None
    exit_code: int | None = None
    trouble: Trouble | None = None
    said: set[Trouble] = field(default_factory=set)


class Follower:
    """Follows the Jobs of one run. Used by one thread; the logs are read in others.

    Args:
        observer: sees the progress of all pods as that of one work.
        tell: hears what the operator has to know: trouble, pods that take over.
        every: seconds between two looks at the cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        names: tuple[str, ...],
        observer: Observer,
        tell: Callable[[Trouble], None],
        every: float,
    ) -> None:
        self.jobs = {one: JobRecord(one) for one in names}
        self._cluster = cluster
        self._streams = Streams(cluster)
        self._sum = Sum(observer)
        self._tell = tell
        self._every = every
        self._pods: dict[str, PodRecord] = {}

    def run(self, timeout: float | None) -> tuple[JobRecord, ...]:
        """Until every Job is over, or one has trouble that no waiting ends.

        Raises Unavailable after `timeout` seconds or when the API server stays silent, NotFound when a Job is deleted.
        """
        until = None if timeout is None else time.monotonic() + timeout
        answered = time.monotonic()
        try:
            while True:
                try:
                    self._look()
                    answered = time.monotonic()
                except Unavailable:
                    if time.monotonic() - answered > _PATIENCE:
                        raise
                if all(job.exit_code is not None for job in self.jobs.values()):
                    break
                self._check_time(until, timeout)
                self._take(time.monotonic() + self._every)
            self._drain()
        finally:
            self._streams.stop()
        return tuple(self.jobs.values())

    def _check_time(self, until: float | None, timeout: float | None) -> None:
        if until is None or time.monotonic() < until:
            return
        open_ = [job for job in self.jobs.values() if job.exit_code is None]
        why = next((f" {job.trouble.message}" for job in open_ if job.trouble), "")
        raise Unavailable(
            f"Job {open_[0].name} has not ended after {timeout:g} s; it goes on.{why}",
            hint="Follow it: the same command again. Stop it: provision job delete",
        )

    def _look(self) -> None:
        for job in self.jobs.values():
            if job.exit_code is not None:
                continue
            found = self._cluster.get("Job", job.name)
            if found is None:
                raise NotFound(f"Job {job.name} was deleted while it was followed.", hint="Run the same command again.")
            job.object = found
            scene = scene_of(self._cluster, found)
            for pod in scene.pods:
                self._see(job, pod, scene)
            self._judge(job, scene)

    def _see(self, job: JobRecord, pod: Object, scene: Scene) -> None:
        record = job.pods.get(name(pod))
        if record is None:
            record = job.pods[name(pod)] = self._pods[name(pod)] = PodRecord(name(pod), job.name, index(pod))
            earlier = [one for one in job.pods.values() if one.index == record.index and one is not record]
            if earlier:
                self._sum.tell(f"Pod {record.name} takes over from {earlier[-1].name} (attempt {len(earlier) + 1}).")
        busy = sum(one.reading and not one.read for one in self._pods.values())
        if not record.reading and has_started(pod) and busy < MOST:
            record.reading = True
            self._streams.start(record.name, main_container(pod))
        record.end = End.of(pod) or record.end
        if is_done(pod) and not record.reported:
            record.reported = True
            record.trouble = ended(with_namespace(self._cluster, scene, pod), pod)
            if record.trouble is not None and not is_over(scene.job):
                self._say(job, record.trouble)

    def _judge(self, job: JobRecord, scene: Scene) -> None:
        if is_complete(scene.job):
            job.exit_code, job.trouble = 0, None
        elif is_over(scene.job):
            job.trouble = refusals.of_failure(scene.job) or _last_trouble(job) or _of_condition(scene.job)
            job.exit_code = _exit_code(job)
        else:
            now = troubles(scene)
            job.trouble = now[0] if now else None
            for one in now:
                self._say(job, one)
            if (fatal := next((one for one in now if one.fatal is not None), None)) is not None:
                job.trouble, job.exit_code = fatal, fatal.fatal

    def _say(self, job: JobRecord, trouble: Trouble) -> None:
        """Once for each object, whatever the numbers in a message become; and once for pods that suffer alike."""
        same = (one for one in job.said if one.kind == trouble.kind)
        if all(one.subject != trouble.subject and one.message != trouble.message for one in same):
            self._tell(trouble)
        job.said.add(trouble)

    def _take(self, until: float) -> None:
        """Lines, until it is time for another look; the end of a log is worth one at once."""
        while (left := until - time.monotonic()) > 0:
            try:
                one = self._streams.lines.get(timeout=left)
            except queue.Empty:
                return
            if self._heard(one):
                return

    def _heard(self, one: Line | Over) -> bool:
        pod = self._pods[one.pod]
        if isinstance(one, Over):
            pod.read = True
            if one.why is not None:
                self._sum.tell(f"The log of {pod.name} cannot be read: {one.why} Only its state is followed.")
            return True
        said = pod.reader.read(one.text)
        if isinstance(said, Result):
            pod.result = said.data
        elif isinstance(said, Failure):
            pod.failure = said
        elif said is not None:
            self._sum.take((pod.job, pod.index), pod.name, said)
        return False

    def _drain(self) -> None:
        until = time.monotonic() + _DRAIN
        while any(pod.reading and not pod.read for pod in self._pods.values()) and time.monotonic() < until:
            self._take(until)


def _last_trouble(job: JobRecord) -> Trouble | None:
    """Of the pod that made the Job fail: the last that says why it ended."""
    found = [pod.trouble for pod in job.pods.values() if pod.trouble and pod.end and pod.end.exit_code]
    every = found or [pod.trouble for pod in job.pods.values() if pod.trouble]
    return every[-1] if every else None


def _of_condition(job: Object) -> Trouble:
    failed = condition(job, "Failed") or {}
    message = f"The Job failed ({failed.get('reason', 'no reason given')}), and none of its pods is left to say why."
    return Trouble("failed", f"Job {name(job)}", message, "Run the same command again.")


def _exit_code(job: JobRecord) -> int:
    if job.trouble is not None and job.trouble.fatal is not None:
        return job.trouble.fatal
    codes = [pod.end.exit_code for pod in job.pods.values() if pod.end and pod.end.exit_code]
    return codes[-1] if codes else 5  # a Job whose pods were only ever taken away: another run may do
