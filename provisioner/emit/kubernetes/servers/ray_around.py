"""What stands around a RayService: its head's account and rights, its disruption budget and its metrics."""

from __future__ import annotations

from provisioner.emit.kubernetes.objects import Object, metadata, selector
from provisioner.emit.kubernetes.servers import parts
from provisioner.emit.kubernetes.servers.settings import RaySettings
from provisioner.emit.kubernetes.settings import Settings

METRICS = 8080
WORKERS = {"ray.io/node-type": "worker"}  # KubeRay's label; it lets nobody change it
SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": str(METRICS), "prometheus.io/path": "/metrics"}


def autoscaled(ray: RaySettings) -> bool:
    """Whether Ray itself asks for more workers."""
    return ray.max_workers > ray.workers


def account(settings: Settings, *, token: bool) -> Object:
    """Whose rights the head has; only its autoscaler talks to the API server."""
    name = settings.service_account or settings.ray.name
    return {"serviceAccountName": str(name), "automountServiceAccountToken": token}


def before(settings: Settings) -> list[Object]:
    """The head's ServiceAccount, and its rights when it scales; none where the settings name an account."""
    ray = settings.ray
    if settings.service_account:
        return []
    made: Object = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(settings, ray.name, ray.name),
        "automountServiceAccountToken": False,
    }
    return [made, _role(settings), _binding(settings)] if autoscaled(ray) else [made]


def _role(settings: Settings) -> Object:
    """What the autoscaler asks the API server; KubeRay grants no less to the account of a head that scales.

    No names can be given, since KubeRay makes a new cluster with a name of its own at every change.
    """
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata(settings, settings.ray.name, settings.ray.name),
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": ["ray.io"], "resources": ["rayclusters"], "verbs": ["get", "patch"]},
        ],
    }


def _binding(settings: Settings) -> Object:
    name = str(settings.ray.name)
    subject: Object = {"kind": "ServiceAccount", "name": name}
    if settings.namespace:
        subject["namespace"] = str(settings.namespace)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(settings, name, name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [subject],
    }


def after(settings: Settings) -> list[Object]:
    """Disruption budget and metrics.

    A budget counts pods of KubeRay by `minAvailable` only, since a RayCluster has no scale; of a single worker it would
    stop every drain: https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
    """
    ray, result = settings.ray, list[Object]()
    if ray.workers > 1:
        match = selector(settings, ray.name) | WORKERS
        result.append(parts.disruption_budget(settings, ray.name, match, minAvailable=ray.workers - 1))
    return result + ([_metrics(settings), _monitor(settings)] if ray.monitor else [])


def _metrics(settings: Settings) -> Object:
    """KubeRay's own Services leave the workers' metrics out."""
    ray = settings.ray
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, f"{ray.name}-metrics", ray.name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(settings, ray.name),
            "ports": [{"name": "metrics", "port": METRICS, "targetPort": "metrics", "protocol": "TCP"}],
        },
    }


def _monitor(settings: Settings) -> Object:
    ray = settings.ray
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": metadata(settings, str(ray.name), ray.name),
        "spec": {
            "selector": {"matchLabels": selector(settings, ray.name)},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": "30s"}],
        },
    }
