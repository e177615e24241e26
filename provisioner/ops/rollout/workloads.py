"""Which workloads mount a release, and what their pod templates are with another one. Pure."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs.waiting import WAIT
from provisioner.emit.kubernetes.mount import mount
from provisioner.emit.kubernetes.objects import MODELS, RELEASE
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.mounts.changes import Log
from provisioner.emit.mounts.template import put
from provisioner.errors import UsageError
from provisioner.layout import ROOTS
from provisioner.model import Layout

Object = dict[str, Any]

_RELEASES = "releases/"
_FLAT = f"{ROOTS[Layout.FLAT]}/"
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])")
_MAIN = "containers"
_GROUPS = (_MAIN, "initContainers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Use:
    """A release mounted by one container.

    Attributes:
        group: the list of the pod that has the container.
        volume: its name in the pod.
        path: where the container sees it.
        release: the folder's name below `releases/`.
        inside: what of the release is mounted, "" for all of it.
    """

    group: str
    container: str
    volume: str
    claim: str
    path: str
    release: str
    inside: str

    @property
    def model(self) -> str | None:
        """The flat model that is mounted alone, or None."""
        name = self.inside.removeprefix(_FLAT)
        return name if self.inside.startswith(_FLAT) and name and "/" not in name else None


def uses(template: Mapping[str, Any], claims: Collection[str]) -> Iterator[Use]:
    """The releases of these claims that a pod, or a pod template, mounts, init containers and sidecars included."""
    named = _volumes(template, claims)
    for group, container in _containers(template):
        for one in container.get("volumeMounts") or []:
            volume, sub_path = str(one.get("name")), str(one.get("subPath", "")).strip("/")
            if volume in named and sub_path.startswith(_RELEASES):
                release, _, inside = sub_path.removeprefix(_RELEASES).partition("/")
                at = str(one.get("mountPath", ""))
                yield Use(group, str(container["name"]), volume, named[volume], at, release, inside)


def _volumes(template: Mapping[str, Any], claims: Collection[str]) -> dict[str, str]:
    """Name in the pod -> claim, of these claims."""
    found = {}
    for one in (template.get("spec") or {}).get("volumes") or []:
        claim = str((one.get("persistentVolumeClaim") or {}).get("claimName", ""))
        if claim in claims:
            found[str(one.get("name"))] = claim
    return found


def _containers(template: Mapping[str, Any]) -> Iterator[tuple[str, Object]]:
    pod = template.get("spec") or {}
    for group in _GROUPS:
        yield from ((group, one) for one in pod.get(group) or [])


def named(template: Mapping[str, Any], claims: Collection[str]) -> frozenset[str] | None:
    """The releases that a pod of these claims mounts, or that its arguments, variables and annotation name.

    Empty when it mounts none of the claims, None when it mounts one as a whole and nothing says what it reads there.
    """
    if not (volumes := _volumes(template, claims)):
        return frozenset()
    found = {use.release for use in uses(template, claims)}
    found |= set(_ID.findall(str(((template.get("metadata") or {}).get("annotations") or {}).get(RELEASE, ""))))
    whole = False
    for _, container in _containers(template):
        texts = [*(container.get("command") or []), *(container.get("args") or [])]
        texts += [one.get("value") or "" for one in container.get("env") or []]
        found |= {release for text in texts for release in _ID.findall(str(text))}
        mounts = [one for one in container.get("volumeMounts") or [] if str(one.get("name")) in volumes]
        whole |= any(not str(one.get("subPath", "")).strip("/").startswith(_RELEASES) for one in mounts)
    return frozenset(found) if found or not whole else None


def repointed(
    template: Object, settings: Settings, facts: Facts, claims: Collection[str], where: str
) -> tuple[Object, tuple[str, ...]]:
    """The pod template with the release of the lock in every place where it mounts one, and what there is to say.

    Where `provision emit mount` wrote it the whole environment is made anew; of anything else only the folder changes.

    Raises NotFound where a container mounts a flat model that the lock does not have.
    """
    result, notes = copy.deepcopy(template), list[str]()
    every = list(uses(template, claims))
    for use in every:
        if use.model is not None:
            facts.model(use.model, Layout.FLAT)
        alone = sum((one.group, one.container) == (use.group, use.container) for one in every) == 1
        if not (alone and _is_ours(template, use)):
            _swap(result, use, facts.release)
        elif why := _put(result, use, settings, facts, where):
            notes.append(why)
            _swap(result, use, facts.release)
    _swap_wait(result, facts.release)
    metadata = result["metadata"] = result.get("metadata") or {}
    metadata["annotations"] = (metadata.get("annotations") or {}) | {RELEASE: facts.release}
    return result, tuple(notes)


def _is_ours(template: Mapping[str, Any], use: Use) -> bool:
    """Whether `emit mount` wrote this mount: whole, or of one flat model, in a template with its annotation."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    whole = not use.inside or use.model is not None
    return RELEASE in annotations and use.volume == MODELS and use.group == _MAIN and whole


def _put(template: Object, use: Use, settings: Settings, facts: Facts, where: str) -> str:
    """Write the mount anew; why that cannot be, or ""."""
    before = copy.deepcopy(template["spec"])
    made = mount(settings, facts, use.claim, use.path, model=use.model, wait=_waits(template))
    try:
        put(template, use.container, made, Log(where, replace=False))
    except UsageError as error:
        template["spec"] = before
        return f"{error} Only the release's folder is changed there."
    return ""


def _waits(template: Mapping[str, Any]) -> int | None:
    """How long the init container of an earlier run waits, None where there is none."""
    for group, one in _containers(template):
        args = [str(arg) for arg in one.get("args") or []]
        if group == "initContainers" and one.get("name") == WAIT and "--wait" in args[:-1]:
            text = args[args.index("--wait") + 1]
            return int(text) if text.isdecimal() else None
    return None


def _swap(template: Object, use: Use, release: str) -> None:
    for group, container in _containers(template):
        if (group, container["name"]) == (use.group, use.container):
            for one in container["volumeMounts"]:
                if (one.get("name"), one.get("mountPath")) == (use.volume, use.path):
                    one["subPath"] = f"{_RELEASES}{release}" + (f"/{use.inside}" if use.inside else "")


def _swap_wait(template: Object, release: str) -> None:
    """The waiting init container names the release in its arguments."""
    for group, one in _containers(template):
        args = one.get("args") or []
        if group == "initContainers" and one.get("name") == WAIT and "--release" in args[:-1]:
            one["args"] = [*args]
            one["args"][args.index("--release") + 1] = release
