"""One look at a Job: itself, its pods, and as much around them as the trouble asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from provisioner.cluster.client import Cluster
from provisioner.errors import AccessDenied
from provisioner.ops.job.objects import Object, disruption, is_done, job_claims, name, own_first
from provisioner.ops.job.scene import Scene, is_quiet

_MOST = 3  # pods whose events are asked for: those of an Indexed Job suffer alike


def scene_of(cluster: Cluster, job: Object) -> Scene:
    """The Job's pods; and where something does not run, its events, claims and neighbours.

    Who may not read those is told less. Raises what the cluster raises for the pods.
    """
    selector = (job["spec"].get("selector") or {}).get("matchLabels") or {"job-name": name(job)}
    found = sorted(cluster.list("Pod", selector), key=lambda pod: str(pod["metadata"].get("creationTimestamp")))
    scene = Scene(job, tuple(own_first(pod, job) for pod in found))
    return scene if is_quiet(scene) else _around(cluster, scene)


def _around(cluster: Cluster, scene: Scene) -> Scene:
    claims = {one: cluster_get(cluster, "PersistentVolumeClaim", one) for one in job_claims(scene.job)}
    known = {claim: held for claim, (may, held) in claims.items() if may}
    wanted = {str(held["spec"]["storageClassName"]) for held in known.values() if held and _has_class(held)}
    classes = {one: cluster_get(cluster, "StorageClass", one) for one in wanted}
    events = _events(cluster, scene.job, "Job")
    for pod in [pod for pod in scene.pods if not is_done(pod)][:_MOST]:
        events += _events(cluster, pod, "Pod")
    for held in known.values():
        if held is not None:
            events += _events(cluster, held, "PersistentVolumeClaim")
    return replace(
        scene,
        events=tuple(events),
        claims=known,
        classes={one: held for one, (may, held) in classes.items() if may},
        neighbours=tuple(_allowed(lambda: cluster.list("Pod"))) if _is_held(events) else (),
        quotas=() if scene.pods else tuple(_allowed(lambda: cluster.list("ResourceQuota"))),
        namespace=namespace_of(cluster) if not scene.pods else {},
    )


def _is_held(events: list[Object]) -> bool:
    return any(event.get("reason") == "FailedAttachVolume" for event in events)


def _has_class(held: Object) -> bool:
    return bool(held["spec"].get("storageClassName")) and (held.get("status") or {}).get("phase") == "Pending"


def cluster_get(cluster: Cluster, kind: str, name_: str) -> tuple[bool, Object | None]:
    """Whether it may be read, and the object or None."""
    try:
        return True, cluster.get(kind, name_)
    except AccessDenied:
        return False, None


def namespace_of(cluster: Cluster) -> Object:
    """The namespace, for OpenShift's ranges and Pod Security; {} where it may not be read."""
    return cluster_get(cluster, "Namespace", cluster.namespace)[1] or {}


def _events(cluster: Cluster, one: Object, kind: str) -> list[Object]:
    fields = f"involvedObject.kind={kind},involvedObject.name={name(one)}"
    return _allowed(lambda: cluster.list("Event", fields=fields))


def _allowed(ask: Callable[[], list[Object]]) -> list[Object]:
    try:
        return ask()
    except AccessDenied:
        return []


def with_namespace(cluster: Cluster, scene: Scene, pod: Object) -> Scene:
    """For what is said of a pod that ended: only who may not write needs the namespace's ranges."""
    if disruption(pod) is not None or scene.namespace:
        return scene
    return replace(scene, namespace=namespace_of(cluster))
