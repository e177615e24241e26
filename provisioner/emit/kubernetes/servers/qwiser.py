"""QWiser's embeddings workers."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount, mount
from provisioner.emit.kubernetes.objects import SCRATCH_PATH, Object, selector
from provisioner.emit.kubernetes.servers import contradictions, our_server, parts
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
    settings = _in_place(settings)
    qwiser = settings.qwiser
    if not our_server.is_ours(qwiser):  # which finds models in any layout
        parts.require_layout(facts, LAYOUTS, "qwiser")
    parts.required_image(qwiser, "qwiser")
    parts.check(qwiser, "qwiser", (str(qwiser.path), SCRATCH_PATH))
    if len(set(qwiser.workers)) < len(qwiser.workers):
        raise InvalidInput("Two QWiser workers have one name.", hint="Each name in qwiser.workers is a Deployment.")
    claims = parts.claims(target, len(qwiser.workers))
    result: list[Object] = []
    for name, claim in zip(qwiser.workers, claims, strict=True):
        if qwiser.port is not None:
            result.append(parts.service(settings, name, *_ports(settings, qwiser.port)))
        seen = mount(settings, facts, claim, str(qwiser.path), wait=wait)
        result.append(_deployment(settings, facts, name, seen, shared=not isinstance(target, Separate)))
        if qwiser.replicas > 1:
            result.append(parts.disruption_budget(settings, name, selector(settings, name), maxUnavailable=1))
    return result


def _in_place(settings: Settings) -> Settings:
    """With our program where it is asked for, which always has a port."""
    settings = our_server.in_place(settings, "qwiser")
    qwiser = settings.qwiser
    if not our_server.is_ours(qwiser):
        return settings
    if qwiser.gpus and settings.serve.engine != "cuda":
        raise InvalidInput(
            f"Each worker asks for {qwiser.gpus} GPUs, and our image computes without.",
            hint="Leave qwiser.gpus at 0; or name an image with a CUDA build of ONNX Runtime as serve.image, and set "
            'serve.engine = "cuda".',
        )
    return replace(settings, qwiser=replace(qwiser, port=qwiser.port or our_server.PORT))


def _deployment(settings: Settings, facts: Facts, name: str, seen: Mount, *, shared: bool) -> Object:
    qwiser = settings.qwiser
    one = parts.container(
        settings,
        "embeddings-worker",
        qwiser,
        parts.gpu_resources(qwiser.resources, qwiser.gpus),
        seen,
        _own_environment(settings, facts) | seen.environment,
        **_probes(settings, facts),
    )
    template = parts.pod_template(settings, qwiser, name, one, seen)
    if our_server.is_ours(qwiser) and qwiser.port is not None:
        our_server.finish(settings, template, qwiser.port)
    if seen.init:
        template["spec"]["initContainers"] = list(seen.init)
    return parts.deployment(settings, name, qwiser.replicas, template, seen.release, shared=shared)


def _own_environment(settings: Settings, facts: Facts) -> dict[str, str]:
    qwiser = settings.qwiser
    if not our_server.is_ours(qwiser) or qwiser.port is None:
        return {}
    roles = (our_server.EMBEDDER,)
    result = our_server.environment(settings, facts, str(qwiser.path), qwiser.port, qwiser.resources, roles)
    contradictions.refuse("qwiser", result, qwiser.env, qwiser.secrets, free=("INDEXING_ONLY",))
    return result


def _ports(settings: Settings, port: int) -> tuple[tuple[str, int], ...]:
    return our_server.ports(settings, "http", port) if our_server.is_ours(settings.qwiser) else (("http", port),)


def _probes(settings: Settings, facts: Facts) -> dict[str, object]:
    """Ports and probes of a worker that answers HTTP; one that only reads a queue has none."""
    qwiser = settings.qwiser
    if qwiser.port is None:
        return {}
    ports: dict[str, object] = {"ports": parts.container_ports(*_ports(settings, qwiser.port))}
    if our_server.is_ours(qwiser):
        return ports | our_server.probes(settings, facts, qwiser.port)
    if qwiser.health is None:
        return ports
    return ports | {
        "livenessProbe": parts.http_probe(qwiser.health, qwiser.port, 120, 30, 10, 3),
        "readinessProbe": parts.http_probe(qwiser.health, qwiser.port, 10, 10, 5, 5),
    }
