"""What every object of an API server has, checked once, so that nobody who reads it has to. Pure.

The names are those of Kubernetes.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, ValidationError, convert

Object = dict[str, Any]


class _Metadata(Struct):
    name: str
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[dict[str, Any]] | None = None


class _Condition(Struct):
    type: str
    status: str


class _State(Struct):
    waiting: dict[str, Any] | None = None
    running: dict[str, Any] | None = None
    terminated: dict[str, Any] | None = None


class _Held(Struct):
    name: str
    state: _State | None = None


class _Status(Struct):
    conditions: list[_Condition] | None = None
    containerStatuses: list[_Held] | None = None
    initContainerStatuses: list[_Held] | None = None


class _Any(Struct):
    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: _Status | None = None


class _Claimed(Struct):
    claimName: str


class _Volume(Struct):
    name: str = ""
    persistentVolumeClaim: _Claimed | None = None
    configMap: dict[str, Any] | None = None


class _Resources(Struct):
    requests: dict[str, Any] | None = None
    limits: dict[str, Any] | None = None


class _Container(Struct):
    name: str
    resources: _Resources | None = None
    env: list[dict[str, Any]] | None = None
    envFrom: list[dict[str, Any]] | None = None
    volumeMounts: list[dict[str, Any]] | None = None
    args: list[str] | None = None


class _PodSpec(Struct):
    containers: list[_Container]
    initContainers: list[_Container] | None = None
    volumes: list[_Volume] | None = None
    imagePullSecrets: list[dict[str, Any]] | None = None
    securityContext: dict[str, Any] | None = None
    nodeSelector: dict[str, str] | None = None


class _Pod(Struct):
    metadata: _Metadata
    spec: _PodSpec
    status: _Status | None = None


class _Template(Struct):
    spec: _PodSpec
    metadata: dict[str, Any] | None = None


class _WithTemplate(Struct):
    template: _Template
    selector: dict[str, Any] | None = None


class _OfPods(Struct):
    metadata: _Metadata
    spec: _WithTemplate
    status: _Status | None = None


class _JobTemplate(Struct):
    spec: _WithTemplate


class _Schedule(Struct):
    jobTemplate: _JobTemplate


class _CronJob(Struct):
    metadata: _Metadata
    spec: _Schedule


class _Amounts(Struct):
    hard: dict[str, Any] | None = None
    used: dict[str, Any] | None = None


class _Quota(Struct):
    metadata: _Metadata
    status: _Amounts | None = None


class _Event(Struct):
    metadata: _Metadata
    involvedObject: dict[str, Any] | None = None
    series: dict[str, Any] | None = None


_SHAPES: dict[str, type[Any]] = {
    "Pod": _Pod,
    "Job": _OfPods,
    "Deployment": _OfPods,
    "StatefulSet": _OfPods,
    "DaemonSet": _OfPods,
    "CronJob": _CronJob,
    "ResourceQuota": _Quota,
    "Event": _Event,
}


def is_sound(kind: str, one: object) -> bool:
    """Whether it has what an object of its kind always has, where it always has it; the rest may be anything."""
    try:
        convert(one, _SHAPES.get(kind, _Any))
    except (ValidationError, RecursionError):
        return False
    return True
