"""What the servers have in common: their claim, how they are confined, their container and their Deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from provisioner.emit.kubernetes import exposed
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.mount import Mount
from provisioner.emit.kubernetes.names import EnvName, Image, Quantity
from provisioner.emit.kubernetes.objects import (
    RELEASE,
    SCRATCH,
    Object,
    container_security,
    metadata,
    pod_defaults,
    pod_labels,
    resources,
    secret_variables,
    selector,
    variables,
)
from provisioner.emit.kubernetes.quantities import amount
from provisioner.emit.kubernetes.resources import Resources
from provisioner.emit.kubernetes.servers.settings import Program
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Separate, Target, readers
from provisioner.errors import InvalidDocument, InvalidInput, Problem
from provisioner.model import Layout

GPU = "nvidia.com/gpu"
NODE = "kubernetes.io/hostname"


def claims(target: Target, count: int) -> tuple[str, ...]:
    """The claim of each of so many servers: their own where there is no ReadWriteMany, else one for all.

    Raises InvalidInput where there are too few.
    """
    found = readers(target)
    if not isinstance(target, Separate):
        return found * count
    if len(found) < count:
        raise InvalidInput(
            f"Each of {count} servers needs a claim of its own here, and the target has {len(found)}.",
            hint="Name more in its `claims`, and fill each: provision emit volume, provision emit job.",
        )
    return found[:count]


def require_shared(target: Target, what: str) -> None:
    """Raises InvalidInput where pods on several nodes cannot mount one claim."""
    if isinstance(target, Separate):
        raise InvalidInput(
            f"{what} read one claim on several nodes, and a ReadWriteOnce claim is on one.",
            hint="Choose a target of another kind: nfs, azure-files, storage-class, s3 or claim.",
        )


def require_layout(facts: Facts, layouts: Sequence[Layout], preset: str) -> None:
    """Raises InvalidInput when no model of the lock is where the server looks."""
    if not any(layout in model.layouts for model in facts.lock.models for layout in layouts):
        raise InvalidInput(
            f"The lock has no model in the layout {' or '.join(layouts)}, where this server looks.",
            hint=f"Lock its models: provision lock add --preset {preset}",
        )


def required_image(program: Program, table: str) -> Image:
    """The image. Raises InvalidInput when the settings have none."""
    if program.image is None:
        raise InvalidInput(
            f"The image of {table} is not set, and only you know it.",
            hint=f"Give --image REGISTRY/NAME:TAG, or image in [kubernetes.{table}].",
        )
    return program.image


def check(program: Program, table: str, taken: Sequence[str], *envs: Mapping[EnvName, str]) -> None:
    """Raises InvalidDocument for secrets in the open, variables given twice, and folders where something else stands.

    `taken` are the paths of other mounts, `envs` further tables of plain variables.
    """
    found = [problem for env in (program.env, *envs) for problem in exposed.in_variables(env)]
    found += [*exposed.in_words("command", program.command), *exposed.in_words("args", program.args)]
    twice = {name for env in (program.env, *envs) for name in env if name in program.secrets}
    found += [Problem(f"secrets.{name}", "is in env already") for name in sorted(twice)]
    found += [Problem("writable", f"{path} {wrong}") for path, wrong in _misplaced(program.writable, taken)]
    if found:
        raise InvalidDocument(f"[kubernetes.{table}]", tuple(found), hint="docs/kubernetes.md says what they are for.")


def _misplaced(paths: Sequence[str], taken: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Mounts that the API server refuses, or that the runtime cannot make in a read-only folder."""
    for index, path in enumerate(paths):
        if path in paths[:index]:
            yield path, "is there twice"
        elif any(path == other or path.startswith(f"{other}/") for other in taken):
            yield path, "is where something else is mounted"


def user_of(settings: Settings, program: Program) -> int:
    """The uid a server runs as."""
    return settings.user if program.user is None else program.user


def pod_spec(settings: Settings, program: Program) -> Object:
    """What a server's pod has beside containers and volumes."""
    own = replace(settings, user=user_of(settings, program))
    spec = pod_defaults(own)
    if own.user == 0 and not settings.openshift:
        spec["securityContext"]["runAsNonRoot"] = False
    return spec


def security(program: Program) -> Object:
    """The security context of a server's container."""
    return container_security() | {"readOnlyRootFilesystem": program.read_only_root}


def writable_mounts(program: Program) -> list[Object]:
    """The folders below scratch that stand where the image wants to write."""
    return [{"name": SCRATCH, "mountPath": str(path), "subPath": f"root{path}"} for path in program.writable]


def gpu_resources(wanted: Resources, gpus: int) -> Object:
    """Requests and limits, with so many GPUs of NVIDIA."""
    found = resources(wanted)
    if gpus:  # an extended resource: a request without the same limit is refused
        found["requests"][GPU] = str(gpus)
        found.setdefault("limits", {})[GPU] = str(gpus)
    return found


def cpus(quantity: Quantity) -> Decimal:
    """CPUs as a number: 500m is 0.5. Raises InvalidInput for a unit that nobody counts CPUs in."""
    number = amount(quantity)
    if number is None or quantity[-1] not in "0123456789m":
        raise InvalidInput(f"{quantity} is not a number of CPUs.", hint="As in 500m, 2 or 1.5.")
    return number


def environment_of(program: Program, ours: Mapping[str, str]) -> list[Object]:
    """`env`: ours, the settings' own over them, and the keys of Secrets over both."""
    plain = {str(name): value for name, value in (dict(ours) | dict(program.env)).items()}
    return variables({name: value for name, value in plain.items() if name not in program.secrets}) + (
        secret_variables(program.secrets)
    )


def container(
    settings: Settings,
    name: str,
    program: Program,
    wanted: Object,
    mount: Mount,
    environment: Mapping[str, str],
    **more: Any,
) -> Object:
    """A container of theirs that sees the release; `more` are keys of the API such as ports and probes."""
    given: Object = {key: list(value) for key in ("command", "args") if (value := getattr(program, key))}
    return {
        "name": name,
        "image": str(program.image),
        "imagePullPolicy": settings.pull_policy,
        **given,
        **more,
        "env": environment_of(program, environment),
        "resources": wanted,
        "securityContext": security(program),
        "volumeMounts": [*mount.mounts, *writable_mounts(program)],
    }


def pod_template(settings: Settings, program: Program, component: str, one: Object, mount: Mount) -> Object:
    """A pod of one container; its annotation says which release it reads."""
    spec = pod_spec(settings, program) | {"containers": [one], "volumes": list(mount.volumes)}
    return {
        "metadata": {"labels": pod_labels(settings, component), "annotations": {RELEASE: mount.release}},
        "spec": spec,
    }


def deployment(
    settings: Settings, name: str, replicas: int, template: Object, release: str, *, shared: bool = True
) -> Object:
    """A Deployment that is its own component. A claim of one node is let go before the next pod mounts it.

    Raises InvalidInput for several replicas on such a claim.
    """
    if not shared and replicas > 1:
        raise InvalidInput(
            f"{name} cannot have {replicas} replicas on a claim that one node mounts.",
            hint="Leave replicas at 1, or choose a target that many nodes can mount.",
        )
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    if replicas > 1:
        template["spec"]["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": NODE,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": selector(settings, name)},
            }
        ]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(settings, name, name, annotations={RELEASE: release}),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector(settings, name)},
            "strategy": rolling if shared else {"type": "Recreate"},
            "template": template,
        },
    }


def container_ports(*named: tuple[str, int]) -> list[Object]:
    """A container's ports, by name and number."""
    return [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in named]


def service(settings: Settings, name: str, *named: tuple[str, int]) -> Object:
    """The Service of a Deployment of the same name, at the ports of its pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(settings, name, name),
        "spec": {
            "type": "ClusterIP",
            "selector": selector(settings, name),
            "ports": [{"name": key, "port": port, "targetPort": key, "protocol": "TCP"} for key, port in named],
        },
    }


def disruption_budget(settings: Settings, name: str, match: Object, **spec: int) -> Object:
    """A PodDisruptionBudget: `maxUnavailable` or `minAvailable` of the pods that match."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(settings, name, name),
        "spec": {**spec, "selector": {"matchLabels": match}},
    }


def http_probe(path: str, port: int | str, delay: int, period: int, timeout: int, failures: int) -> Object:
    """A probe; all times in seconds."""
    return {
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": delay,
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
