"""Both Onyx servers from a store on the host, for Docker Compose and what understands its files."""

from __future__ import annotations

from typing import Any

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import folder, variables_at
from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.quantities import bytes_of
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers import onyx as servers
from provisioner.emit.kubernetes.servers import our_server, parts
from provisioner.emit.kubernetes.servers.settings import Member
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.mounts.service import bind, tmpfs
from provisioner.errors import UsageError

FILE = "compose.yaml"
API_SERVER = "api-server.env"
INFERENCE, INDEXING = "inference_model_server", "indexing_model_server"  # hosts that Onyx's own project knows


def document(settings: Settings, facts: Facts) -> dict[str, Any]:
    """The Compose file.

    Raises InvalidInput when the lock has nothing for them, UsageError for Secrets of Kubernetes.
    """
    settings = our_server.in_place(settings, "onyx")
    onyx, compose = settings.onyx, settings.compose
    servers.check(settings, facts)
    if onyx.secrets:
        raise UsageError("Compose has no Secrets of Kubernetes.", hint="Leave onyx.secrets out.")
    result: dict[str, Any] = {
        "name": str(settings.name),
        "services": {
            INFERENCE: _service(settings, facts, onyx.inference, compose.inference_port),
            INDEXING: _service(settings, facts, onyx.indexing, compose.indexing_port),
        },
    }
    if compose.network:
        result["networks"] = {"default": {"name": compose.network, "external": True}}
    return result | {"x-api-server-environment": hosts(settings)}


def hosts(settings: Settings) -> dict[str, str]:
    """What Onyx's API server and background workers read to find both, on one network with them."""
    return servers.hosts(settings.onyx, INFERENCE, INDEXING)


def _service(settings: Settings, facts: Facts, member: Member, published: int) -> dict[str, Any]:
    onyx, compose = settings.onyx, settings.compose
    path, size = str(settings.mount_path), bytes_of(settings.scratch_size)
    release = bind(compose.store, folder(facts), path, variables_at(facts, path), facts.release, size)
    values = servers.own_environment(settings, facts, member) | release.environment | dict(onyx.env) | dict(member.env)
    ports = {} if not compose.bind else {"ports": [_published(compose.bind, published, onyx.port)]}
    return {
        "image": str(onyx.image),
        "command": [_literal(one) for one in (*servers.command(onyx), *onyx.args)],
        "environment": {str(name): _literal(value) for name, value in values.items()},
        **ports,
        "expose": [str(port) for _, port in servers.ports(settings)],
        "volumes": [release.volume],
        "tmpfs": [release.tmpfs, *(tmpfs(one, size) for one in onyx.writable)],
        **_lifetime(settings, facts),
        "user": f"{parts.user_of(settings, onyx)}:{settings.group}",
        "read_only": onyx.read_only_root,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "deploy": {"resources": _resources(member.resources)},
        "restart": "unless-stopped",
    }


def _literal(text: str) -> str:
    """As it arrives: Compose would replace `$NAME`."""
    return text.replace("$", "$$")


def _published(address: str, host: int, container: int) -> dict[str, Any]:
    return {"target": container, "published": str(host), "host_ip": address, "protocol": "tcp"}


def _lifetime(settings: Settings, facts: Facts) -> dict[str, Any]:
    onyx = settings.onyx
    if not our_server.is_ours(onyx):
        return {"healthcheck": _health(onyx.health, onyx.port, 30, 120)}
    health = _health(our_server.READY, onyx.port, 10, our_server.startup(settings, facts))
    return {"healthcheck": health, "stop_grace_period": f"{our_server.grace(settings)}s"}


def _health(path: str, port: int, interval: int, start: int) -> dict[str, Any]:
    """Asked with the image's own Python, since it has no curl; all times in seconds."""
    ask = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}{path}', timeout=5)"
    return {
        "test": ["CMD", "python", "-c", ask],
        "interval": f"{interval}s",
        "timeout": "10s",
        "retries": 3,
        "start_period": f"{start}s",
    }


def _resources(wanted: Resources) -> dict[str, Any]:
    """Reservations and limits, in Compose's units."""
    limits = _amounts(wanted.cpu_limit, wanted.memory_limit)
    return {"reservations": _amounts(None, wanted.memory)} | ({"limits": limits} if limits else {})


def _amounts(cpu: Quantity | None, memory: Quantity | None) -> dict[str, str]:
    result = {}
    if cpu is not None:
        result["cpus"] = str(parts.cpus(cpu))
    if memory is not None:
        result["memory"] = f"{bytes_of(memory)}b"
    return result
