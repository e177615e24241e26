"""The parts that all emitted objects share: metadata, labels, security contexts, variables and mounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from provisioner import __version__
from provisioner.emit.kubernetes.names import KeyRef
from provisioner.emit.kubernetes.settings import Resources, Settings
from provisioner.emit.kubernetes.tolerations import Toleration

Object = dict[str, Any]

PART_OF = "model-provisioner"
RELEASE = "model-provisioner/release"  # annotation: which release an object is about
MOUNT = "model-provisioner/mount"  # label: the Kustomize component adds the models to workloads that have it
SCRATCH = "scratch"
MODELS = "models"  # what the volume of models is called in every pod
STORE_PATH = "/mnt/models"  # where `provision` sees a whole store; PROVISION_PVC_DIR's default
SCRATCH_PATH = "/scratch"


def labels(settings: Settings, component: str) -> Object:
    """The labels of an object."""
    return pod_labels(settings, component) | {"app.kubernetes.io/version": __version__}


def pod_labels(settings: Settings, component: str) -> Object:
    """The labels of a pod: without our version, which would restart consumers for nothing.

    The settings' own cannot change ours.
    """
    ours = {"app.kubernetes.io/part-of": PART_OF, "app.kubernetes.io/managed-by": PART_OF}
    return dict(settings.labels) | selector(settings, component) | ours


def selector(settings: Settings, component: str) -> Object:
    """The labels that never change, for selectors."""
    return {
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/instance": str(settings.name),
        "app.kubernetes.io/component": component,
    }


def metadata(
    settings: Settings,
    name: str,
    component: str,
    *,
    annotations: Mapping[str, str] | None = None,
    cluster: bool = False,
) -> Object:
    """Name, namespace, labels and annotations; a cluster's own objects have no namespace."""
    result: Object = {"name": name}
    if settings.namespace and not cluster:
        result["namespace"] = str(settings.namespace)
    result["labels"] = labels(settings, component)
    if every := dict(settings.annotations) | dict(annotations or {}):
        result["annotations"] = every
    return result


def pod_security(settings: Settings, *, writes: bool = False) -> Object:
    """A pod's security context that restricted Pod Security admits.

    Only who writes needs the volume's group: fsGroup would walk a consumer's read-only volume for nothing.
    """
    context: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if settings.openshift:
        return context  # its admission chooses uid, gid and fsGroup from the namespace's ranges
    context |= {"runAsUser": settings.user, "runAsGroup": settings.group}
    if writes:
        context |= {"fsGroup": settings.fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    return context


def container_security() -> Object:
    """A container's security context that restricted Pod Security admits."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(wanted: Resources) -> Object:
    """Requests and limits."""
    limits = {"cpu": wanted.cpu_limit, "memory": wanted.memory_limit}
    result: Object = {"requests": {"cpu": str(wanted.cpu), "memory": str(wanted.memory)}}
    if given := {key: str(value) for key, value in limits.items() if value is not None}:
        result["limits"] = given
    return result


def variables(values: Mapping[str, str]) -> list[Object]:
    """`env` of plain values, in their order."""
    return [{"name": str(name), "value": str(value)} for name, value in values.items()]


def secret_variables(values: Mapping[str, KeyRef] | Mapping[Any, KeyRef]) -> list[Object]:
    """`env` of one key each from Secrets; a missing one keeps the pod from starting, never unnoticed."""
    return [
        {"name": str(name), "valueFrom": {"secretKeyRef": {"name": ref.owner, "key": ref.key}}}
        for name, ref in values.items()
    ]


def claim_volume(name: str, claim: str, *, read_only: bool) -> Object:
    """A volume of a pod from a claim."""
    source: Object = {"claimName": str(claim)}
    return {"name": name, "persistentVolumeClaim": source | ({"readOnly": True} if read_only else {})}


def scratch_volume(settings: Settings) -> Object:
    """Where a container with a read-only root file system may write."""
    return {"name": SCRATCH, "emptyDir": {"sizeLimit": str(settings.scratch_size)}}


def pod_defaults(settings: Settings, *, writes: bool = False) -> Object:
    """What every pod of ours has: no token of the API server, the security context, where it may run."""
    spec: Object = {"automountServiceAccountToken": False, "enableServiceLinks": False}
    if settings.service_account:
        spec["serviceAccountName"] = str(settings.service_account)
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": str(name)} for name in settings.pull_secrets]
    spec["securityContext"] = pod_security(settings, writes=writes)
    if settings.node_selector:
        spec["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        spec["tolerations"] = [_given(one) for one in settings.tolerations]
    return spec


def _given(one: Toleration) -> Object:
    return {key: value for key, value in structs.asdict(one).items() if value is not None}
