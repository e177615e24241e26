"""QWiser's embeddings workers."""

from __future__ import annotations

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount, mount
from provisioner.emit.kubernetes.objects import SCRATCH_PATH, Object, selector
from provisioner.emit.kubernetes.servers import parts
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Separate, Target
from provisioner.errors import InvalidInput
from provisioner.model import Layout

LAYOUTS = (Layout.FASTEMBED, Layout.HUB)


def objects(settings: Settings, target: Target, facts: Facts, *, wait: int | None = None) -> list[Object]:
    """A Deployment of each worker; a Service too where it has a port.

    With `wait` each pod waits so many seconds for the release before it starts.

    Raises InvalidInput when the image is not set, the lock has nothing for them, or the target too few claims.
    """
    qwiser = settings.qwiser
    parts.require_layout(facts, LAYOUTS, "qwiser")
    parts.required_image(qwiser, "qwiser")
    parts.check(qwiser, "qwiser", (str(qwiser.path), SCRATCH_PATH))
    if len(set(qwiser.workers)) < len(qwiser.workers):
        raise InvalidInput("Two QWiser workers have one name.", hint="Each name in qwiser.workers is a Deployment.")
    claims = parts.claims(target, len(qwiser.workers))
    result: list[Object] = []
    for name, claim in zip(qwiser.workers, claims, strict=True):
        if qwiser.port is not None:
            result.append(parts.service(settings, name, qwiser.port, "http"))
        seen = mount(settings, facts, claim, str(qwiser.path), wait=wait)
        result.append(_deployment(settings, name, seen, shared=not isinstance(target, Separate)))
        if qwiser.replicas > 1:
            result.append(parts.disruption_budget(settings, name, selector(settings, name), maxUnavailable=1))
    return result


def _deployment(settings: Settings, name: str, seen: Mount, *, shared: bool) -> Object:
    qwiser = settings.qwiser
    one = parts.container(
        settings,
        "embeddings-worker",
        qwiser,
        parts.gpu_resources(qwiser.resources, qwiser.gpus),
        seen,
        seen.environment,
        **_probes(settings),
    )
    template = parts.pod_template(settings, qwiser, name, one, seen)
    if seen.init:
        template["spec"]["initContainers"] = list(seen.init)
    return parts.deployment(settings, name, qwiser.replicas, template, seen.release, shared=shared)


def _probes(settings: Settings) -> dict[str, object]:
    """Ports and probes of a worker that answers HTTP; one that only reads a queue has none."""
    port, health = settings.qwiser.port, settings.qwiser.health
    if port is None:
        return {}
    ports: dict[str, object] = {"ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}
    if health is None:
        return ports
    return ports | {
        "livenessProbe": parts.http_probe(health, port, 120, 30, 10, 3),
        "readinessProbe": parts.http_probe(health, port, 10, 10, 5, 5),
    }
