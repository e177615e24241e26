"""A mount as text to copy, to patch with, or to give to Kustomize, Helm and Compose."""

from __future__ import annotations

import re
from typing import Any

from provisioner.emit.kubernetes.mount import Mount
from provisioner.emit.kubernetes.objects import MOUNT, RELEASE, Object, variables
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.mounts.service import Bind
from provisioner.errors import UsageError

API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Job": "batch/v1",
    "CronJob": "batch/v1",
    "Pod": "v1",
}
_TEMPLATE = "spec.template"
_JOB_TEMPLATE = "spec.jobTemplate.spec.template"
_LABELLED = {kind: _JOB_TEMPLATE if kind == "CronJob" else _TEMPLATE for kind in API_VERSIONS if kind != "Pod"}
SOURCE = "mount.yaml"
_ITSELF = "~~~"  # in no name and no path


def snippet(mount: Mount) -> list[tuple[str, Object]]:
    """The parts with where each belongs."""
    pod: Object = {"volumes": list(mount.volumes)}
    if mount.init:
        pod = {"initContainers": list(mount.init), **pod}
    return [
        ("Of the pod template's metadata:", {"annotations": mount.annotations}),
        ("Of the pod's spec:", pod),
        ("Of the container:", container(mount)),
    ]


def container(mount: Mount) -> Object:
    """What a container gets."""
    return {"volumeMounts": list(mount.mounts), "env": variables(mount.environment)}


def patch(settings: Settings, mount: Mount, workload: str, name: str) -> Object:
    """A strategic merge patch for the container `name` of KIND/NAME, or of a Deployment NAME. Raises UsageError."""
    kind, title = kind_of(workload)
    spec: Object = {"volumes": list(mount.volumes), "containers": [{"name": name, **container(mount)}]}
    if mount.init:
        spec["initContainers"] = list(mount.init)
    pod: Object = {"metadata": {"annotations": mount.annotations}, "spec": spec}
    metadata: Object = {"name": title}
    if settings.namespace:
        metadata["namespace"] = str(settings.namespace)
    head: Object = {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": metadata}
    if kind == "Pod":
        return head | {"metadata": metadata | pod["metadata"], "spec": spec}
    if kind == "CronJob":
        return head | {"spec": {"jobTemplate": {"spec": {"template": pod}}}}
    return head | {"spec": {"template": pod}}


def kind_of(workload: str) -> tuple[str, str]:
    """`deployment/NAME` as the API's kind and the name. Raises UsageError."""
    kind, _, name = workload.rpartition("/")
    found = next((one for one in API_VERSIONS if one.lower() == (kind or "deployment").lower()), None)
    if found is None or not name:
        raise UsageError(f"--workload {workload} is no KIND/NAME.", hint=f"Kinds: {', '.join(API_VERSIONS)}.")
    return found, name


def component(settings: Settings, mount: Mount, name: str | None) -> dict[str, Object]:
    """File name -> document: a Kustomize Component for whatever has the label MOUNT.

    A strategic merge patch would have to know the container's name, and a JSON patch whether `env` is there already;
    a replacement that may create its target needs neither, and takes the place of an entry whole, `valueFrom`
    included: https://github.com/kubernetes-sigs/kustomize/blob/master/api/filters/replacement/replacement.go
    Without a container's name the first one of each pod gets the mount.
    """
    source = _source(settings, mount)
    at = f"containers.{_entry('name', name)}" if name else "containers.0"
    into: list[tuple[str, str]] = []
    for part, merge_key, place in (
        ("volumes", "name", "volumes"),
        ("initContainers", "name", "initContainers"),
        ("volumeMounts", "mountPath", f"{at}.volumeMounts"),
        ("env", "name", f"{at}.env"),
    ):
        for index, one in enumerate(source["spec"].get(part, ())):
            into.append((f"spec.{part}.{index}", f"{place}.{_entry(merge_key, one[merge_key])}"))
    return {
        "kustomization.yaml": {
            "apiVersion": "kustomize.config.k8s.io/v1alpha1",
            "kind": "Component",
            "resources": [SOURCE],
            "patches": [_annotation(mount, path) for path in dict.fromkeys(_LABELLED.values())],
            "replacements": [_replacement(source, start, end) for start, end in into],
        },
        SOURCE: source,
    }


def _entry(key: str, value: str) -> str:
    """The entry of a list.

    Kustomize takes the value as a pattern for the text in the file, quotes and comments included: HOME alone is also
    found in HF_HOME, and takes its place. And before an entry is made, it gets the pattern for its value and is
    searched for until that is found, so the pattern has to match its own text too:
    https://github.com/kubernetes-sigs/kustomize/blob/kyaml/v0.20.1/kyaml/yaml/match.go (doSeq)
    """
    return f"""[{key}=(?m)^["']?{re.escape(value)}["']?( +#.*)?$|{_ITSELF}]"""


def _source(settings: Settings, mount: Mount) -> Object:
    """What the replacements copy from; Kustomize leaves it out of what it prints."""
    spec: Object = {"volumes": list(mount.volumes), **container(mount)}
    if mount.init:
        spec["initContainers"] = list(mount.init)
    annotations = {"config.kubernetes.io/local-config": "true"}
    metadata = {"name": f"{settings.name}-mount", "annotations": annotations}
    return {"apiVersion": "model-provisioner/v1", "kind": "ModelMount", "metadata": metadata, "spec": spec}


def _replacement(source: Object, start: str, end: str) -> Object:
    return {
        "source": {"kind": source["kind"], "name": source["metadata"]["name"], "fieldPath": start},
        "targets": [
            {
                "select": {"kind": kind, "labelSelector": f"{MOUNT}=true"},
                "fieldPaths": [f"{path}.spec.{end}"],
                "options": {"create": True},
            }
            for kind, path in _LABELLED.items()
        ],
    }


def _annotation(mount: Mount, path: str) -> Object:
    """A patch of its own: a replacement copies a text without its quotes, and a release may look like a number."""
    from provisioner.emit.yaml import text

    kinds = "|".join(kind for kind, one in _LABELLED.items() if one == path)
    body: Any = {"metadata": {"annotations": {RELEASE: mount.release}}}
    for step in reversed(path.split(".")):
        body = {step: body}
    head = {"apiVersion": "v1", "kind": "ignored", "metadata": {"name": "ignored"}}  # the target says which
    return {"target": {"kind": f"({kinds})", "labelSelector": f"{MOUNT}=true"}, "patch": text(head | body)}


def helm(mount: Mount) -> Object:
    """Values as many charts call them."""
    values: Object = {
        "podAnnotations": mount.annotations,
        "extraVolumes": list(mount.volumes),
        "extraVolumeMounts": list(mount.mounts),
        "extraEnv": variables(mount.environment),
    }
    return values | ({"extraInitContainers": list(mount.init)} if mount.init else {})


def compose(bind: Bind, service: str) -> Object:
    """An override for `docker compose -f compose.yaml -f OVERRIDE`."""
    return {"services": {service: bind.service}}
