"""Onyx's two model servers: one answers queries, the other embeds documents in bulk and never delays the first."""

from __future__ import annotations

from msgspec.structs import replace

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount, mount
from provisioner.emit.kubernetes.objects import SCRATCH_PATH, Object, metadata, resources, selector
from provisioner.emit.kubernetes.servers import contradictions, our_server, parts
from provisioner.emit.kubernetes.servers.settings import Inference, Member, OnyxSettings
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Separate, Target
from provisioner.errors import InvalidInput
from provisioner.model import Layout

LAYOUTS = (Layout.HUB, Layout.HUGGINGFACE, Layout.SENTENCE_TRANSFORMERS)
PORT_NAME = "modelserver"


def objects(settings: Settings, target: Target, facts: Facts, *, wait: int | None = None) -> list[Object]:
    """ConfigMap of hosts and ports, and a Service and a Deployment of each server.

    With `wait` each pod waits so many seconds for the release before it starts.

    Raises InvalidInput when the lock has nothing for them, or the target too few claims.
    """
    settings = our_server.in_place(settings, "onyx")
    onyx = settings.onyx
    check(settings, facts)
    claims = parts.claims(target, 2)
    result = [_config_map(settings)]
    for member, claim in zip((onyx.inference, onyx.indexing), claims, strict=True):
        result.append(parts.service(settings, member.name, *ports(settings)))
        seen = mount(settings, facts, claim, wait=wait)
        result.append(_deployment(settings, facts, member, seen, shared=not isinstance(target, Separate)))
        if member.replicas > 1:
            match = selector(settings, member.name)
            result.append(parts.disruption_budget(settings, member.name, match, maxUnavailable=1))
    return result


def check(settings: Settings, facts: Facts) -> None:
    """Raises InvalidInput for a lock without their models, and for settings that cannot be."""
    onyx = settings.onyx
    if not our_server.is_ours(onyx):  # which finds models in any layout
        parts.require_layout(facts, LAYOUTS, "onyx")
    parts.required_image(onyx, "onyx")
    taken = (str(settings.mount_path), SCRATCH_PATH)
    parts.check(onyx, "onyx", taken, onyx.inference.env, onyx.indexing.env)
    if onyx.inference.name == onyx.indexing.name:
        raise InvalidInput(f"Both Onyx servers are called {onyx.indexing.name}.", hint="Give them two names.")


def hosts(onyx: OnyxSettings, inference: str, indexing: str) -> dict[str, str]:
    """What Onyx's API server and background workers read to find both."""
    port = str(onyx.port)
    return {
        "MODEL_SERVER_HOST": inference,
        "MODEL_SERVER_PORT": port,
        "INDEXING_MODEL_SERVER_HOST": indexing,
        "INDEXING_MODEL_SERVER_PORT": port,
    }


def own_environment(settings: Settings, facts: Facts, member: Member) -> dict[str, str]:
    """What makes one image the one server or the other.

    Raises InvalidDocument where the settings' own variables contradict that, and as `our_server.environment` does.
    """
    onyx = settings.onyx
    role = {} if isinstance(member, Inference) else {"INDEXING_ONLY": "True"}
    if not our_server.is_ours(onyx):
        return role | {"MODEL_SERVER_PORT": str(onyx.port)}
    roles = (our_server.EMBEDDER,) if role else (our_server.EMBEDDER, our_server.RERANKER)  # indexing refuses to rerank
    at = str(settings.mount_path)
    result = role | our_server.environment(settings, facts, at, onyx.port, member.resources, roles)
    contradictions.refuse("onyx", result, dict(onyx.env) | dict(member.env), onyx.secrets)
    return result


def command(onyx: OnyxSettings) -> tuple[str, ...]:
    """What starts the server, in the place of the image's own."""
    uvicorn = ("uvicorn", "model_server.main:app", "--host", "0.0.0.0", "--port", str(onyx.port))
    return () if our_server.is_ours(onyx) else onyx.command or uvicorn


def ports(settings: Settings) -> tuple[tuple[str, int], ...]:
    """Names and numbers of the ports."""
    named = (PORT_NAME, settings.onyx.port)
    return our_server.ports(settings, *named) if our_server.is_ours(settings.onyx) else (named,)


def _config_map(settings: Settings) -> Object:
    onyx = settings.onyx
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, onyx.config_map, "onyx-model-servers"),
        "data": hosts(onyx, onyx.inference.name, onyx.indexing.name),
    }


def _deployment(settings: Settings, facts: Facts, member: Member, seen: Mount, *, shared: bool) -> Object:
    onyx = replace(settings.onyx, command=command(settings.onyx), env=dict(settings.onyx.env) | dict(member.env))
    one = parts.container(
        settings,
        "model-server",
        onyx,
        resources(member.resources),
        seen,
        own_environment(settings, facts, member) | seen.environment,
        ports=parts.container_ports(*ports(settings)),
        **_probes(settings, facts),
    )
    template = parts.pod_template(settings, onyx, member.name, one, seen)
    if our_server.is_ours(onyx):
        our_server.finish(settings, template, onyx.port)
    if seen.init:
        template["spec"]["initContainers"] = list(seen.init)
    return parts.deployment(settings, member.name, member.replicas, template, seen.release, shared=shared)


def _probes(settings: Settings, facts: Facts) -> dict[str, Object]:
    onyx = settings.onyx
    if our_server.is_ours(onyx):
        return our_server.probes(settings, facts, onyx.port)
    return {
        "livenessProbe": parts.http_probe(onyx.health, onyx.port, 120, 30, 10, 3),
        "readinessProbe": parts.http_probe(onyx.health, onyx.port, 60, 10, 5, 5),
    }
