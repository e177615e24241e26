"""What the API server's objects say, in the few words that following a Job needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from provisioner.ops.job.parse import parsed

Object = dict[str, Any]


def name(one: Object) -> str:
    """Its name."""
    return str(one["metadata"]["name"])


def uid(one: Object) -> str:
    """Its identity: another object of the same name has another."""
    return str(one["metadata"].get("uid", ""))


def condition(one: Object, kind: str) -> Object | None:
    """The condition of this type, if it holds."""
    for found in status(one).get("conditions") or []:
        if found.get("type") == kind and found.get("status") == "True":
            return dict(found)
    return None


def status(one: Object) -> Object:
    """Its status, empty where nobody has written one."""
    return one.get("status") or {}


def is_complete(job: Object) -> bool:
    """Whether a Job ended well."""
    return condition(job, "Complete") is not None


def is_over(job: Object) -> bool:
    """Whether a Job ended either way."""
    return is_complete(job) or condition(job, "Failed") is not None


def is_leaving(one: Object) -> bool:
    """Whether it is being deleted."""
    return bool(one["metadata"].get("deletionTimestamp"))


def annotation(one: Object, key: str) -> str:
    """An annotation, or ""."""
    return str((one["metadata"].get("annotations") or {}).get(key, ""))


def index(pod: Object) -> int:
    """Which share of an Indexed Job a pod has; 0 for the only pod."""
    text = annotation(pod, "batch.kubernetes.io/job-completion-index")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def own_first(pod: Object, job: Object) -> Object:
    """The pod with the container of its Job in front: our Jobs have one, and a webhook may put sidecars before it."""
    wanted = main_container(job["spec"]["template"])
    containers = sorted(pod["spec"]["containers"], key=lambda one: one["name"] != wanted)
    return pod | {"spec": pod["spec"] | {"containers": containers}}


def main_container(pod: Object) -> str:
    """The name of the container that does the work, of a pod as `own_first` gives it."""
    return str(pod["spec"]["containers"][0]["name"])


def container_status(pod: Object) -> Object:
    """The status of that container, or an empty one."""
    wanted = main_container(pod)
    found = (one for one in status(pod).get("containerStatuses") or [] if one.get("name") == wanted)
    return next(found, {})


def waiting(pod: Object) -> Iterator[tuple[str, str, str]]:
    """Containers that do not start: image, reason, message."""
    for container, reason, message in held(pod):
        yield str(container.get("image", "")), reason, message


def held(pod: Object) -> Iterator[tuple[Object, str, str]]:
    """Containers that do not start, as the pod describes them, with the image the node calls it; reason, message."""
    every, spec = status(pod), pod["spec"]
    described = {one["name"]: one for one in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]}
    for one in [*(every.get("initContainerStatuses") or []), *(every.get("containerStatuses") or [])]:
        state = (one.get("state") or {}).get("waiting")
        if state:
            known = described.get(one["name"], {"name": one["name"]})
            image = one.get("image") or known.get("image") or "?"
            yield known | {"image": image}, str(state.get("reason", "")), str(state.get("message", ""))


def has_started(pod: Object) -> bool:
    """Whether there is a log to read."""
    state = container_status(pod).get("state") or {}
    return "running" in state or "terminated" in state


def claims(pod: Object) -> tuple[str, ...]:
    """The claims that a pod mounts."""
    volumes = pod["spec"].get("volumes") or []
    return tuple(one["persistentVolumeClaim"]["claimName"] for one in volumes if one.get("persistentVolumeClaim"))


def job_claims(job: Object) -> tuple[str, ...]:
    """The claims that a Job's pods mount."""
    return claims(job["spec"]["template"])


@dataclass(frozen=True, slots=True)
class End:
    """How a pod's container ended.

    Attributes:
        reason: as the kubelet gives it: Completed, Error, OOMKilled.
        summary: what `provision` wrote as its termination message, or {}.
    """

    exit_code: int
    reason: str
    summary: Object

    @classmethod
    def of(cls, pod: Object) -> End | None:
        """None while it runs, or where the pod was taken away before its container could say."""
        done = (container_status(pod).get("state") or {}).get("terminated")
        if not done:
            return None
        code = done.get("exitCode")
        return cls(code if type(code) is int else 1, str(done.get("reason", "")), _summary(done.get("message")))


def _summary(text: object) -> Object:
    """The summary, or what the log's last failure says: for the kubelet may give the log's end instead."""
    if (whole := _table(str(text))) is not None:
        return whole
    lines = (_table(line) for line in reversed(str(text).splitlines()))
    failure = next((one for one in lines if one and one.get("event") == "error"), None)
    if failure is None:
        return {}
    return {"error": failure.get("message"), "hint": failure.get("hint"), "exit_code": failure.get("exit_code")}


def _table(text: str) -> Object | None:
    found = parsed(text)
    return found if isinstance(found, dict) else None


def is_done(pod: Object) -> bool:
    """Whether nothing more will come from a pod."""
    return status(pod).get("phase") in ("Succeeded", "Failed") or End.of(pod) is not None


def disruption(pod: Object) -> Object | None:
    """Why the cluster took a running pod away: evicted, preempted, its node drained or gone."""
    if found := condition(pod, "DisruptionTarget"):
        return found
    one = status(pod)
    if one.get("phase") == "Failed" and one.get("reason") in ("Evicted", "NodeLost", "Shutdown", "Terminated"):
        return one
    return None
