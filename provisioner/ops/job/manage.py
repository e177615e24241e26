"""The Jobs that are there: which, how they are, and away with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.cluster.client import Cluster
from provisioner.emit.kubernetes.objects import PART_OF, RELEASE
from provisioner.errors import NotFound
from provisioner.ops.job import refusals
from provisioner.ops.job.containers import ended
from provisioner.ops.job.look import scene_of, with_namespace
from provisioner.ops.job.objects import (
    End,
    Object,
    annotation,
    condition,
    is_complete,
    is_done,
    is_leaving,
    is_over,
    name,
    status,
)
from provisioner.ops.job.scene import Scene, Trouble
from provisioner.ops.job.trouble import troubles

_INSTANCE, _COMPONENT, _PART = "instance", "component", "part-of"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One Job as `job status` shows it.

    Attributes:
        state: "complete", "failed", "running", "waiting", "suspended" or "deleting".
        active, succeeded, failed: pods.
        since: when it was made, RFC 3339.
        exit_code: of the last pod that ended, or None.
        summary: what that pod left as its termination message, or {}.
        troubles: what keeps it from going on, or what it failed of.
    """

    job: str
    component: str
    release: str
    state: str
    active: int
    succeeded: int
    failed: int
    since: str
    exit_code: int | None
    summary: Object
    troubles: tuple[Trouble, ...]


def find(cluster: Cluster, instance: str, component: str | None = None) -> list[Object]:
    """The Jobs of an installation, the oldest first."""
    labels = {_key(_PART): PART_OF, _key(_INSTANCE): instance}
    if component is not None:
        labels[_key(_COMPONENT)] = component
    return sorted(cluster.list("Job", labels), key=lambda job: str(job["metadata"].get("creationTimestamp")))


def _key(word: str) -> str:
    return f"app.kubernetes.io/{word}"


def newest(cluster: Cluster, instance: str, wanted: str | None) -> Object:
    """The Job of this name, else the mirror Job that was made last. Raises NotFound."""
    if wanted is not None:
        found = cluster.get("Job", wanted)
        if found is None:
            raise NotFound(f"There is no Job {wanted} in namespace {cluster.namespace}.", hint=_LIST)
        return found
    every = find(cluster, instance, "mirror")
    if not every:
        raise NotFound(
            f"There is no mirror Job of {instance} in namespace {cluster.namespace}.",
            hint="Run it: provision job run. Another --name or --namespace?",
        )
    return every[-1]


_LIST = "provision job status lists them."


def statuses(cluster: Cluster, jobs: Sequence[Object]) -> list[JobStatus]:
    """How each of the Jobs is."""
    return [_status(scene_of(cluster, job), cluster) for job in jobs]


def _status(scene: Scene, cluster: Cluster) -> JobStatus:
    job, numbers = scene.job, status(scene.job)
    ends = [end for pod in scene.pods if (end := End.of(pod)) is not None]
    last = next((end for end in reversed(ends) if end.exit_code), ends[-1] if ends else None)
    if is_complete(job):
        last = next((end for end in reversed(ends) if end.exit_code == 0), last)
    found = tuple(troubles(scene))
    if is_over(job) and not is_complete(job):
        found = _failed(scene, cluster)
    return JobStatus(
        name(job),
        str((job["metadata"].get("labels") or {}).get(_key(_COMPONENT), "")),
        annotation(job, RELEASE),
        _state(scene),
        int(numbers.get("active") or 0),
        int(numbers.get("succeeded") or 0),
        int(numbers.get("failed") or 0),
        str(job["metadata"].get("creationTimestamp", "")),
        last.exit_code if last else None,
        last.summary if last else {},
        found,
    )


def _failed(scene: Scene, cluster: Cluster) -> tuple[Trouble, ...]:
    if (whole := refusals.of_failure(scene.job)) is not None:
        return (whole,)
    every = [ended(with_namespace(cluster, scene, pod), pod) for pod in scene.pods if is_done(pod)]
    return tuple(one for one in every if one is not None)[-1:]


def _state(scene: Scene) -> str:
    job = scene.job
    if is_leaving(job):
        return "deleting"
    if is_over(job):
        return "complete" if is_complete(job) else "failed"
    if condition(job, "Suspended") is not None:
        return "suspended"
    return "running" if any(status(pod).get("phase") == "Running" for pod in scene.pods) else "waiting"


def chosen(
    cluster: Cluster, instance: str, names: Sequence[str], release: str | None, component: str = "mirror"
) -> list[Object]:
    """The Jobs of these names, else the mirror Jobs of a release, or of all releases. Raises NotFound."""
    if names:
        return [newest(cluster, instance, one) for one in names]
    every = find(cluster, instance, component)
    return [job for job in every if release is None or annotation(job, RELEASE) == release]


def delete(cluster: Cluster, jobs: Sequence[Object]) -> list[str]:
    """Delete Jobs and, in the background, their pods. The claims stay."""
    return [name(job) for job in jobs if cluster.delete("Job", name(job))]


def delete_lock_maps(cluster: Cluster, instance: str, leaving: Sequence[str]) -> list[str]:
    """Delete the ConfigMaps of locks that no Job, CronJob or pod of the installation names any more; their names."""
    labels = {_key(_PART): PART_OF, _key(_INSTANCE): instance, _key(_COMPONENT): "mirror"}
    used = {one for job in find(cluster, instance) if name(job) not in leaving for one in _maps(job)}
    for pod in cluster.list("Pod"):
        owners = {str(owner.get("name")) for owner in pod["metadata"].get("ownerReferences") or []}
        if not owners & set(leaving):
            used |= set(_maps({"spec": {"template": pod}}))
    found = [one for one in cluster.list("ConfigMap", labels) if one.get("immutable")]
    return [name(one) for one in found if name(one) not in used and cluster.delete("ConfigMap", name(one))]


def _maps(job: Object) -> list[str]:
    volumes = job["spec"]["template"]["spec"].get("volumes") or []
    return [str(one["configMap"].get("name")) for one in volumes if one.get("configMap")]
