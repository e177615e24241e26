"""Our own model server, `provision serve`, in the place of theirs: at their names, ports and paths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs.deadline import SLOWEST
from provisioner.emit.kubernetes.names import Text
from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers import onnx, parts
from provisioner.emit.kubernetes.servers.serve_settings import OURS, ServeSettings
from provisioner.emit.kubernetes.settings import Settings
from provisioner.errors import InvalidInput
from provisioner.model import Model

PORT = 9000
ALIVE, READY = "/healthz", "/readyz"
EMBEDDER, RERANKER = "EMBEDDER", "RERANKER"

_DELAY = 3  # seconds in which it still takes connections after SIGTERM: endpoints are told of it meanwhile
_SLACK = 10  # for its end, on a node with other work
_LOADING = 60  # seconds, beside reading the files
_BETWEEN = 2  # seconds, between two questions of the startup probe


def in_place(settings: Settings, table: str, **more: Any) -> Settings:
    """The settings with our program in a deployment's table, where its `server` says so; else as they are.

    What that table says of their image stays unused, so that a deployment can go there and back by one key; `more` are
    further keys of ours in it.
    """
    program = getattr(settings, table)
    if program.server != OURS:
        return settings
    own = {"image": settings.serve.image, "command": (), "args": (Text("serve"),), "writable": ()}
    return replace(settings, **{table: replace(program, **(own | more))})


def environment(
    settings: Settings, facts: Facts, at: str, port: int, wanted: Resources, roles: Iterable[str]
) -> dict[str, str]:
    """What the server is told: where the release is, which models, how many threads.

    Raises NotFound, UsageError and InvalidInput when the lock does not say which models, or has no graph of one.
    """
    serve = settings.serve
    result = {"PROVISION_SERVE_AT": at, "MODEL_SERVER_PORT": str(port)}
    if serve.grpc_port is not None:
        if serve.grpc_port == port:
            raise InvalidInput(f"HTTP and gRPC both have port {port}.", hint="Change serve.grpc_port.")
        result["GRPC_PORT"] = str(serve.grpc_port)
    wishes = {EMBEDDER: serve.embedder, RERANKER: serve.reranker}
    result |= {"DRAIN_DELAY": str(_DELAY), "DRAIN_SECONDS": str(serve.drain)} | start(serve)
    chosen = models(serve, facts, {role: wishes[role] for role in roles})
    return result | chosen | tasks(chosen) | threads(wanted, roles)


def start(serve: ServeSettings) -> dict[str, str]:
    """How it starts."""
    return {"VERIFY": serve.verify, "ENGINE": serve.engine}


def models(serve: ServeSettings, facts: Facts, wishes: dict[str, str | None]) -> dict[str, str]:
    """MODEL_EMBEDDER_NAME, and MODEL_RERANKER_NAME where the lock has a reranker or one is wished for.

    Raises NotFound, UsageError and InvalidInput as `environment` does.
    """
    result = {}
    for role, wanted in wishes.items():
        there = [facts.model(wanted)] if wanted else _candidates(serve, facts, role)
        if there or role != RERANKER:
            model = there[0] if wanted else onnx.only(role, there)
            _require_graph(serve, role, model)
            result[f"MODEL_{role}_NAME"] = str(model.repo)
    return result


def tasks(chosen: Mapping[str, str]) -> dict[str, str]:
    """TASKS where `models` found no reranker: one of the release, or several, would be served or asked about else."""
    return {} if f"MODEL_{RERANKER}_NAME" in chosen else {"TASKS": "embed"}


def threads(wanted: Resources, roles: Iterable[str]) -> dict[str, str]:
    """Whole CPUs of the limit, since one thread more is throttled and its batch waits for it; else of the request."""
    cpus = parts.cpus(wanted.cpu_limit) if wanted.cpu_limit else math.ceil(parts.cpus(wanted.cpu))
    return {f"{role}_OMP_NUM_THREADS": str(max(int(cpus), 1)) for role in roles}


def ports(settings: Settings, name: str, port: int) -> tuple[tuple[str, int], ...]:
    """HTTP under the name that the deployment has for it, and gRPC where it is wanted."""
    grpc = settings.serve.grpc_port
    return ((name, port),) if grpc is None else ((name, port), ("grpc", grpc))


def probes(settings: Settings, facts: Facts, port: int) -> dict[str, Object]:
    """Nothing else is asked before the models are loaded; then it lives as long as its event loop answers."""
    tries = math.ceil(startup(settings, facts) / _BETWEEN)
    return {
        "startupProbe": parts.http_probe(READY, port, 0, _BETWEEN, 2, tries),
        "livenessProbe": parts.http_probe(ALIVE, port, 0, 10, 5, 6),
        "readinessProbe": parts.http_probe(READY, port, 0, 5, 5, 2),
    }


def startup(settings: Settings, facts: Facts) -> int:
    """Seconds that it may take until it is ready: all files are read once, and once more to hash them."""
    passes = 2 if settings.serve.verify == "full" else 1
    return settings.serve.startup or _LOADING + passes * math.ceil(facts.size / SLOWEST)


def grace(settings: Settings) -> int:
    """Seconds from SIGTERM to SIGKILL: more than the server itself waits."""
    return _DELAY + settings.serve.drain + _SLACK


def finish(settings: Settings, template: Object, port: int) -> Object:
    """The pod template with time to drain, and the annotations by which Prometheus finds it."""
    template["spec"]["terminationGracePeriodSeconds"] = grace(settings)
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/port": str(port), "prometheus.io/path": "/metrics"}
    template["metadata"]["annotations"] |= scraped
    return template


def is_ours(program: Any) -> bool:
    """Whether a deployment's table asks for our server."""
    return bool(program.server == OURS)


def _candidates(serve: ServeSettings, facts: Facts, role: str) -> list[Model]:
    """Whose names fit a role: those that can be loaded, else all, so that the refusal says which model it is about."""
    found = onnx.fitting(role, facts.lock.models)
    return [model for model in found if _loadable(serve, model)] or found


def _loadable(serve: ServeSettings, model: Model) -> bool:
    wanted = (".safetensors", ".bin") if serve.engine == "torch" else ".onnx"
    return any(file.path.endswith(wanted) for file in model.files)


def _require_graph(serve: ServeSettings, role: str, model: Model) -> None:
    if serve.engine != "torch" and not _loadable(serve, model):
        raise InvalidInput(
            f"No ONNX file of the {role.lower()} {model.repo} is locked, and our image has no torch.",
            hint=f"Lock one: provision lock add {model.repo} --include onnx/model.onnx --include '*.json'. "
            'Or name an image that has torch as serve.image, and set serve.engine = "torch".',
        )
