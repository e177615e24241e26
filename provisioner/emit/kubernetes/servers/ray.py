"""RAG8s' embedder and reranker on KubeRay: a RayService and what stands around it.

What KubeRay adds to these pods, and when, was read from its source:
https://github.com/ray-project/kuberay/blob/v1.7.0/ray-operator/controllers/ray/common/pod.go
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount, mount
from provisioner.emit.kubernetes.names import AbsolutePath, EnvName, Quantity
from provisioner.emit.kubernetes.objects import (
    RELEASE,
    SCRATCH_PATH,
    Object,
    container_security,
    metadata,
    pod_labels,
    resources,
    selector,
    variables,
)
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers import contradictions, our_server, parts, ray_around
from provisioner.emit.kubernetes.servers.onnx import models
from provisioner.emit.kubernetes.servers.settings import RaySettings
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Target
from provisioner.emit.yaml import text
from provisioner.errors import InvalidInput
from provisioner.model import Layout

PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": ray_around.METRICS, "serve": 8000}
FOLDER = {"RAY_TMPDIR": "/tmp"}  # Ray follows TMPDIR otherwise, and its autoscaler looks into /tmp/ray
SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}  # else the head tries to report to its makers at every start
OURS = "provisioner.serve.ray:app"
# A token that `ray start` finds somewhere switches authentication on (2.60), and KubeRay asks the dashboard without one
# unless `authOptions` is there, which 1.5.1 is the first to know.
AUTH = EnvName("RAY_AUTH_MODE")
OPEN = {str(AUTH): "disabled"}
NODE_HEALTH = ("/api/healthz", 52365)  # of Ray's agent on each node, from 2.53
_FREE = (  # address and port are Serve's, and nothing around the application counts on what it is for
    "DRAIN_DELAY",
    "GRPC_PORT",
    "INDEXING_ONLY",
    "MODEL_SERVER_BIND",
    "MODEL_SERVER_PORT",
)
_ROLES = (our_server.EMBEDDER, our_server.RERANKER)
LOGS = "ray-logs"  # KubeRay's own name for it, so that its autoscaler gets the same volume


def objects(settings: Settings, target: Target, facts: Facts) -> list[Object]:
    """The head's ServiceAccount, the RayService, and disruption budget, metrics and rights where they are wanted.

    Raises InvalidInput when the image is not set, the lock has nothing for it, or one node alone mounts the claim.
    """
    settings = _in_place(settings)
    ray = settings.ray
    if not our_server.is_ours(ray):  # which finds models in any layout
        parts.require_layout(facts, (Layout.HUB, Layout.HUGGINGFACE), "rag8s")
    parts.required_image(ray, "ray")
    parts.check(ray, "ray", (str(settings.mount_path), SCRATCH_PATH, "/tmp/ray", "/dev/shm"))
    parts.require_shared(target, "Head and workers")
    if ray.max_workers < ray.workers:
        raise InvalidInput(
            f"ray.max_workers is {ray.max_workers} and ray.workers is {ray.workers}.",
            hint="Make them equal for a fixed number of workers.",
        )
    claim = parts.claims(target, 1)[0]
    sized = replace(settings, scratch_size=ray.tmp_size)
    seen = mount(sized, facts, claim)
    return [*ray_around.before(settings), _service(settings, facts, seen), *ray_around.after(settings)]


def _in_place(settings: Settings) -> Settings:
    """With our application, and the image that has Ray, where they are asked for."""
    serve = settings.serve
    path, health = OURS, AbsolutePath(our_server.READY)
    own = {"image": serve.ray_image, "version": serve.ray_version, "import_path": path, "health": health}
    return our_server.in_place(settings, "ray", args=(), writable=(AbsolutePath("/tmp"),), **own)


def _service(settings: Settings, facts: Facts, seen: Mount) -> Object:
    ray = settings.ray
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayService",
        "metadata": metadata(settings, ray.name, ray.name, annotations={RELEASE: facts.release}),
        "spec": {
            "serveConfigV2": _serve_config(ray.name, ray.import_path),
            "excludeHeadPodFromServeSvc": True,
            "rayClusterConfig": _cluster(settings, facts, seen),
        },
    }


def _serve_config(name: str, import_path: str) -> str:
    """A text, since KubeRay hands it to Serve as it is."""
    application = {"name": name, "import_path": import_path, "route_prefix": "/"}
    return text({"proxy_location": "EveryNode", "applications": [application]})


def _cluster(settings: Settings, facts: Facts, seen: Mount) -> Object:
    ray = settings.ray
    autoscaled = ray_around.autoscaled(ray)
    cluster: Object = {"rayVersion": str(ray.version), "enableInTreeAutoscaling": autoscaled}
    if autoscaled:
        cluster["autoscalerOptions"] = _autoscaler(ray)
    head = _template(settings, facts, seen, "ray-head", ray.head)
    head["spec"] |= ray_around.account(settings, token=autoscaled)
    worker = _template(settings, facts, seen, "ray-worker", ray.worker)
    worker["spec"] |= {"affinity": _apart(settings), "terminationGracePeriodSeconds": _grace(settings)}
    return cluster | {
        # No CPU of the head is for replicas: it is the one pod that must not run out of memory.
        "headGroupSpec": {"rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"}, "template": head},
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": ray.workers,
                "minReplicas": ray.workers,
                "maxReplicas": ray.max_workers,
                "rayStartParams": {},
                "template": worker,
            }
        ],
    }


def _grace(settings: Settings) -> int:
    """Seconds from SIGTERM to SIGKILL: with ours never less than a replica may take to drain."""
    grace = settings.ray.grace
    return max(grace, our_server.grace(settings)) if our_server.is_ours(settings.ray) else grace


def _autoscaler(ray: RaySettings) -> Object:
    """Confinement of the container that KubeRay adds to the head. Where somebody chose a mode, KubeRay says it here."""
    asked = Resources(Quantity("500m"), Quantity("512Mi"), Quantity("500m"), Quantity("512Mi"))
    auth = OPEN if our_server.is_ours(ray) and AUTH not in ray.env else {}
    env = variables({"HOME": "/tmp/ray", "TMPDIR": "/tmp/ray"} | FOLDER | auth)
    return {"resources": resources(asked), "securityContext": container_security(), "env": env}


def _template(settings: Settings, facts: Facts, seen: Mount, name: str, wanted: Resources) -> Object:
    ray = settings.ray
    one = parts.container(
        settings,
        name,
        replace(ray, secrets=dict(ray.secrets) | ({"HF_TOKEN": ray.hf_token} if ray.hf_token else {})),
        resources(wanted),
        seen,
        seen.environment | FOLDER | SILENT | _models(settings, facts, seen),
        **_ports_and_probes(settings, name),
    )
    one["volumeMounts"].append({"name": LOGS, "mountPath": "/tmp/ray"})
    template = parts.pod_template(settings, ray, ray.name, one, seen)
    template["metadata"]["labels"] = pod_labels(settings, ray.name)
    template["metadata"]["annotations"] |= ray_around.SCRAPED
    template["spec"]["volumes"].append({"name": LOGS, "emptyDir": {"sizeLimit": str(ray.tmp_size)}})
    return template


def _models(settings: Settings, facts: Facts, seen: Mount) -> dict[str, str]:
    """Which models, with how many threads, and of ours how many replicas."""
    ray, serve = settings.ray, settings.serve
    if not our_server.is_ours(ray):
        return models(settings, facts, seen) | _threads(math.ceil(parts.cpus(ray.worker.cpu)), _ROLES)
    wishes = {our_server.EMBEDDER: ray.embedder or serve.embedder, our_server.RERANKER: ray.reranker or serve.reranker}
    found = our_server.models(serve, facts, wishes)
    at = {"PROVISION_SERVE_AT": str(seen.mounts[0]["mountPath"]), "DRAIN_SECONDS": str(serve.drain)}
    told = at | our_server.start(serve) | found | our_server.tasks(found)
    contradictions.refuse("ray", told, ray.env, ray.secrets, free=_FREE)
    roles = [role for role in _ROLES if f"MODEL_{role}_NAME" in found]
    return told | OPEN | _threads(_fitting(ray, len(roles)), roles) | _replicas(ray, roles)


def _fitting(ray: RaySettings, deployments: int) -> int:
    """Threads, and so CPUs, of a replica of ours: a worker has room for one, and for the HTTP side in front of it.

    Raises InvalidInput where so many deployments can never run at once.
    """
    cpus = _cpus(ray)
    wanted = deployments if cpus > 1 else deployments + 1
    if ray.max_workers < wanted:
        raise InvalidInput(
            f"{deployments} models and the HTTP side of ours need {wanted} workers of {cpus} CPUs.",
            hint="Raise ray.max_workers or ray.worker.cpu.",
        )
    return max(cpus - 1, 1)


def _cpus(ray: RaySettings) -> int:
    """Of a worker, as KubeRay counts them for Ray."""
    return max(math.ceil(parts.cpus(ray.worker.cpu_limit or ray.worker.cpu)), 1)


def _replicas(ray: RaySettings, roles: Sequence[str]) -> dict[str, str]:
    """At least so many that every worker has one, as evenly as it goes: embedders first.

    Serve has a proxy only where a replica is, and a worker without a proxy never gets ready. Who gives one of the two
    numbers of a model gets the server's own default for the other.
    """
    models = max(ray.workers if _cpus(ray) > 1 else ray.workers - 1, len(roles))
    result: dict[str, str] = {}
    for place, role in enumerate(roles):
        least = (models + len(roles) - 1 - place) // len(roles)
        both = {f"{role}_MIN_REPLICAS": str(least), f"{role}_MAX_REPLICAS": str(max(ray.max_workers, least))}
        result |= {} if any(EnvName(name) in ray.env for name in both) else both
    return result


def _ports_and_probes(settings: Settings, name: str) -> dict[str, object]:
    """Only a worker waits for the application.

    KubeRay hands the application to Serve once the head is ready, so a head that waited for it would wait for ever.
    What is left out, KubeRay fills in: it asks the head's GCS and every raylet, before 1.6 with a wget that our image
    does not have, so that ours leaves nothing out.
    """
    wanted = PORTS if name == "ray-head" else {key: PORTS[key] for key in ("metrics", "serve")}
    result: dict[str, object] = {"ports": parts.container_ports(*wanted.items())}
    if our_server.is_ours(settings.ray):
        result["livenessProbe"] = parts.http_probe(*NODE_HEALTH, 30, 5, 5, 120)
        result["readinessProbe"] = parts.http_probe(*NODE_HEALTH, 10, 5, 5, 10)
    if name != "ray-head":
        result["readinessProbe"] = parts.http_probe(settings.ray.health, PORTS["serve"], 10, 5, 5, 1)
    return result


def _threads(number: int, roles: Iterable[str]) -> dict[str, str]:
    """No more threads than CPUs: they would only take turns."""
    names = (*(f"{role}_OMP_NUM_THREADS" for role in roles), "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(max(number, 1)))


def _apart(settings: Settings) -> Object:
    match = selector(settings, settings.ray.name) | ray_around.WORKERS
    term = {"topologyKey": parts.NODE, "labelSelector": {"matchLabels": match}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
