"""What was seen of a Job at one moment, and what trouble is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provisioner.ops.job.objects import Object, is_done, is_over, name, status, uid


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that keeps a Job from going on.

    Attributes:
        kind: a word for machines, such as "claim-pending".
        subject: the object, as "Pod models-mirror-x".
        message: one sentence.
        hint: what to do next.
        fatal: the exit code when no waiting will help, else None.
    """

    kind: str
    subject: str
    message: str
    hint: str = ""
    fatal: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What was seen of a Job at one moment.

    Attributes:
        pods: of the Job.
        events: about the Job, its pods and its claims.
        claims: those the Job mounts; None for one that does not exist.
        classes: the StorageClasses the claims name; None for one that does not exist.
        neighbours: all pods of the namespace, for who else holds a claim.
        quotas: the ResourceQuotas of the namespace.
        namespace: the namespace itself, or {} where it may not be read.
    """

    job: Object
    pods: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()
    claims: Mapping[str, Object | None] = field(default_factory=dict)
    classes: Mapping[str, Object | None] = field(default_factory=dict)
    neighbours: tuple[Object, ...] = ()
    quotas: tuple[Object, ...] = ()
    namespace: Object = field(default_factory=dict)

    def about(self, one: Object, *reasons: str) -> list[Object]:
        """The events of an object with one of the reasons, or all of them, the latest last."""
        found = [
            event
            for event in self.events
            if (event.get("involvedObject") or {}).get("uid") == uid(one)
            and (not reasons or event.get("reason") in reasons)
        ]
        return sorted(found, key=_when)


def _when(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(one) for one in times if one), str(event["metadata"].get("creationTimestamp", "")))


def quoted(text: object) -> str:
    """Somebody else's message as the end of a sentence of ours."""
    one_line = " ".join(str(text or "").split()).rstrip(".")
    return f": {one_line[:400]}." if one_line else "."


def is_quiet(scene: Scene) -> bool:
    """Whether all is as it should be, so that no more has to be asked for."""
    pods = [pod for pod in scene.pods if not is_done(pod)]
    if is_over(scene.job):
        return True
    return bool(pods) and all(status(pod).get("phase") == "Running" for pod in pods)


def subject(one: Object, kind: str = "Pod") -> str:
    """`Pod models-mirror-x`."""
    return f"{kind} {name(one)}"
