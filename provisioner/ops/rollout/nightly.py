"""The verify CronJob of the installation: after a rollout it has to check the release that is served now."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from provisioner.cluster.client import Cluster
from provisioner.emit.kubernetes.objects import RELEASE

Object = dict[str, Any]


def move(cluster: Cluster, made: Sequence[Object], release: str, note: Callable[[str], None]) -> list[str]:
    """Bring the CronJobs that are there to the release; `made` is what `emit verify` would write. Their names.

    Their schedule, mode and all else that somebody chose for them stays: only what names the release changes. Where
    there is none, none is made.
    """
    moved = []
    for one in [one for one in made if one["kind"] == "CronJob"]:
        name = str(one["metadata"]["name"])
        live = cluster.get("CronJob", name)
        if live is None or (live["metadata"].get("annotations") or {}).get(RELEASE) == release:
            continue
        for lock in [other for other in made if other["kind"] == "ConfigMap"]:
            cluster.apply(lock, force=True)
        cluster.replace({"apiVersion": "batch/v1", "kind": "CronJob"} | pointed(live, one, release))
        note(f"cronjob/{name} checks release {release} from now on.")
        moved.append(name)
    return moved


def pointed(live: Object, made: Object, release: str) -> Object:
    """A live CronJob with the release and the lock of a made one."""
    result = copy.deepcopy(live)
    job = result["spec"]["jobTemplate"]
    _mark(result, release)
    _mark(job, release)
    pod = job["spec"]["template"]
    _mark(pod, release)
    wanted = {one["name"]: one for one in made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]}
    volumes = pod["spec"].get("volumes") or []
    pod["spec"]["volumes"] = [wanted.get(one["name"], one) if "configMap" in one else one for one in volumes]
    for container in pod["spec"]["containers"]:
        args = container.get("args") or []
        if "--release" in args[:-1]:
            container["args"] = [*args]
            container["args"][args.index("--release") + 1] = release
    return result


def _mark(one: Object, release: str) -> None:
    metadata = one["metadata"] = one.get("metadata") or {}
    metadata["annotations"] = (metadata.get("annotations") or {}) | {RELEASE: release}
