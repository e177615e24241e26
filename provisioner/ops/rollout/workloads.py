"""Which workloads of a cluster mount a release, and what they are with another one. Pure."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import mount
from provisioner.emit.kubernetes.objects import MODELS, RELEASE
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.waiting import WAIT
from provisioner.emit.mounts.changes import Log
from provisioner.emit.mounts.template import put

Object = dict[str, Any]

KINDS = ("Deployment", "StatefulSet", "DaemonSet")
_RELEASES = "releases/"
_FLAT = "models/"


@dataclass(frozen=True, slots=True)
class Use:
    """A release mounted by one container.

    Attributes:
        volume: its name in the pod.
        path: where the container sees it.
        release: the folder's name below `releases/`.
        inside: what of the release is mounted, "" for all of it.
    """

    container: str
    volume: str
    claim: str
    path: str
    release: str
    inside: str


def uses(template: Mapping[str, Any], claims: Collection[str]) -> Iterator[Use]:
    """The releases of these claims that a pod, or a pod template, mounts."""
    pod = template.get("spec") or {}
    named = {str(one.get("name")): _claim(one) for one in pod.get("volumes") or []}
    for container in pod.get("containers") or []:
        for one in container.get("volumeMounts") or []:
            volume, sub_path = str(one.get("name")), str(one.get("subPath", "")).strip("/")
            if sub_path.startswith(_RELEASES) and (claim := named.get(volume, "")) in claims:
                release, _, inside = sub_path.removeprefix(_RELEASES).partition("/")
                yield Use(str(container["name"]), volume, claim, str(one.get("mountPath", "")), release, inside)


def _claim(volume: Mapping[str, Any]) -> str:
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName", ""))


def repointed(
    template: Object, settings: Settings, facts: Facts, claims: Collection[str], where: str
) -> tuple[Object, tuple[str, ...]]:
    """The pod template with the release of the lock in every place where it mounts one, and what there is to say.

    A mount as `provision emit mount` writes it gets its whole environment anew; of any other only the folder changes.

    Raises NotFound where a container mounts a model that the new lock does not have flat, and what `put` raises.
    """
    result, log = copy.deepcopy(template), Log(where, replace=False)
    for use in uses(template, claims):
        flat = use.inside.startswith(_FLAT) and "/" not in use.inside.removeprefix(_FLAT)
        if use.volume == MODELS and (flat or not use.inside):
            model = use.inside.removeprefix(_FLAT) if flat else None
            made = mount(settings, facts, use.claim, use.path, model=model, wait=_waits(template))
            put(result, use.container, made, log)
        else:
            _swap(result, use, facts.release)
    annotations = result.setdefault("metadata", {}).setdefault("annotations", {})
    annotations[RELEASE] = facts.release
    return result, tuple(log.notes)


def _waits(template: Mapping[str, Any]) -> int | None:
    """How long the init container of an earlier run waits, None where there is none."""
    for one in template["spec"].get("initContainers") or []:
        args = one.get("args") or []
        if one.get("name") == WAIT and "--wait" in args[:-1] and str(args[args.index("--wait") + 1]).isdigit():
            return int(args[args.index("--wait") + 1])
    return None


def _swap(template: Object, use: Use, release: str) -> None:
    for container in template["spec"]["containers"]:
        if container["name"] == use.container:
            for one in container["volumeMounts"]:
                if one.get("name") == use.volume and one.get("mountPath") == use.path:
                    one["subPath"] = f"{_RELEASES}{release}" + (f"/{use.inside}" if use.inside else "")


def restarts_apart(one: Mapping[str, Any]) -> str:
    """Why a change of this workload's pod template would not replace its pods by itself, or ""."""
    spec = one["spec"]
    if spec.get("paused"):
        return "it is paused"
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return "its pods are only replaced when somebody deletes them (OnDelete)"
    return ""


def stops_first(one: Mapping[str, Any]) -> bool:
    """Whether all pods end before the first new one starts."""
    return (one["spec"].get("strategy") or {}).get("type") == "Recreate"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a workload is.

    Attributes:
        ready: pods of the new template that serve.
        wanted: pods there will be.
        stuck: whether its controller has given up waiting.
    """

    ready: int
    wanted: int
    done: bool
    stuck: bool = False


def progress(one: Mapping[str, Any]) -> Progress:
    """What the status says of the change that was last made to the spec."""
    spec, status = one["spec"], one.get("status") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(one["metadata"].get("generation") or 0)
    if one["kind"] == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        new, serving = _number(status, "updatedNumberScheduled"), _number(status, "numberAvailable")
        return Progress(min(new, serving), wanted, seen and new >= wanted and serving >= wanted)
    wanted = int(spec.get("replicas", 1))
    new, serving = _number(status, "updatedReplicas"), _number(status, "availableReplicas")
    done = seen and new >= wanted and serving >= wanted and _number(status, "replicas") <= wanted
    return Progress(min(new, serving), wanted, done, seen and _gave_up(status))


def _number(status: Mapping[str, Any], key: str) -> int:
    return int(status.get(key) or 0)


def _gave_up(status: Mapping[str, Any]) -> bool:
    return any(
        one.get("type") == "Progressing" and one.get("reason") == "ProgressDeadlineExceeded"
        for one in status.get("conditions") or []
    )
