"""What kubectl wants to know of an API server before it applies something."""

from __future__ import annotations

from typing import Any

KINDS = {  # plural -> kind, group and version
    "configmaps": ("ConfigMap", "v1"),
    "events": ("Event", "v1"),
    "namespaces": ("Namespace", "v1"),
    "persistentvolumeclaims": ("PersistentVolumeClaim", "v1"),
    "pods": ("Pod", "v1"),
    "resourcequotas": ("ResourceQuota", "v1"),
    "cronjobs": ("CronJob", "batch/v1"),
    "jobs": ("Job", "batch/v1"),
    "daemonsets": ("DaemonSet", "apps/v1"),
    "deployments": ("Deployment", "apps/v1"),
    "replicasets": ("ReplicaSet", "apps/v1"),
    "statefulsets": ("StatefulSet", "apps/v1"),
    "networkpolicies": ("NetworkPolicy", "networking.k8s.io/v1"),
    "storageclasses": ("StorageClass", "storage.k8s.io/v1"),
}
_CLUSTER = ("namespaces", "storageclasses")
GROUPS = tuple(f"/api{'s' if '/' in one else ''}/{one}/" for one in sorted({group for _, group in KINDS.values()}))
_VERBS = ["delete", "get", "list", "patch"]


def discovery(path: str) -> dict[str, Any] | None:
    """The answer, or None for a path that is none of these."""
    path = path.rstrip("/")
    if path == "/version":
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = sorted({version for _, version in KINDS.values() if "/" in version})
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(one) for one in groups]}
    if path == "/openapi/v3":
        return {"paths": {place.strip("/"): {"serverRelativeURL": f"/openapi/v3{place}?hash=1"} for place in GROUPS}}
    if path.startswith("/openapi/v3/"):
        return _openapi(path.removeprefix("/openapi/v3"))
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version not in (*groups, "v1"):
        return None
    resources = [_resource(plural, kind) for plural, (kind, where) in KINDS.items() if where == version]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _openapi(place: str) -> dict[str, Any]:
    """Just enough for kubectl to leave the validation to the server."""
    paths = {}
    for plural, (kind, version) in KINDS.items():
        group, _, number = version.rpartition("/")
        known = {"x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind}}
        patch = {"parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {}} | known
        paths[f"{place}/namespaces/{{namespace}}/{plural}/{{name}}"] = {"patch": patch}
    return {"openapi": "3.0.0", "info": {"title": "emulated", "version": "1"}, "paths": paths}


def _group(version: str) -> dict[str, Any]:
    one = {"groupVersion": version, "version": version.partition("/")[2]}
    return {"name": version.partition("/")[0], "versions": [one], "preferredVersion": one}


def _resource(plural: str, kind: str) -> dict[str, Any]:
    return {
        "name": plural,
        "singularName": kind.lower(),
        "namespaced": plural not in _CLUSTER,
        "kind": kind,
        "verbs": _VERBS,
    }
