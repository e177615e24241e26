"""What the pods that run `provision` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.objects import (
    MODELS,
    RELEASE,
    SCRATCH,
    SCRATCH_PATH,
    STORE_PATH,
    Object,
    claim_volume,
    container_security,
    metadata,
    pod_defaults,
    pod_labels,
    resources,
    scratch_volume,
)
from provisioner.emit.kubernetes.settings import Resources, Settings
from provisioner.emit.kubernetes.targets import Separate, Target, readers, writers
from provisioner.errors import (
    AccessDenied,
    Interrupted,
    InvalidInput,
    NotFound,
    ProvisionError,
    StoreError,
    Unavailable,
    UsageError,
    VerificationFailed,
)

LONGEST_JOB = 63  # it becomes a label of its pods
LONGEST_CRON_JOB = 52  # eleven characters are appended for each of its Jobs
_FINAL = (ProvisionError, UsageError, VerificationFailed, InvalidInput, AccessDenied, NotFound, StoreError)
_RETRIED = (Unavailable, Interrupted)

# For every pod that runs `provision` on a read-only root file system.
ENVIRONMENT = {
    "HOME": SCRATCH_PATH,
    "TMPDIR": SCRATCH_PATH,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PROVISION_SUMMARY": "/dev/termination-log",
}


def fitting(name: str, longest: int) -> str:
    """The name, where Kubernetes takes one of its length. Raises InvalidInput."""
    if len(name) > longest:
        raise InvalidInput(
            f"{name} would have {len(name)} characters and may have {longest}.",
            hint="Shorten kubernetes.name (--name) or the names of the claims.",
        )
    return name


def for_readers(settings: Settings, target: Target, component: str, longest: int) -> dict[str, str]:
    """What the objects of a component are called, and the claim of consumers that each is for. Raises InvalidInput."""
    name = f"{settings.name}-{component}"
    if isinstance(target, Separate):
        return {fitting(f"{name}-{claim}", longest): claim for claim in target.claims}
    (claim,) = readers(target)
    return {fitting(name, longest): claim}


def for_writers(target: Target, name: str, longest: int = LONGEST_JOB) -> dict[str, str | None]:
    """What Jobs of this name are called, one for each claim that is written; None is a bucket. Raises InvalidInput."""
    if isinstance(target, Separate):
        return {fitting(f"{name}-{claim}", longest): claim for claim in target.claims}
    return {fitting(name, longest): next(iter(writers(target)), None)}


def literal(text: str) -> str:
    """A value of `args` or `env` as it arrives, since Kubernetes would expand `$(NAME)` in it."""
    return text.replace("$", "$$")


def failure_policy(container: str) -> Object:
    """What the exit codes mean for a Job: a retry helps against what is out of reach now, and against nothing else.

    A pod that was evicted or drained away is replaced and not counted.
    """
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            _rule("FailJob", container, _FINAL),
            _rule("Count", container, _RETRIED),
        ]
    }


def _rule(action: str, container: str, errors: Sequence[type[ProvisionError]]) -> Object:
    codes = sorted(error.exit_code for error in errors)  # the API server takes them in order only
    return {
        "action": action,
        "onExitCodes": {"containerName": container, "operator": "In", "values": codes},
        "onPodConditions": [],  # the schemas of Kubernetes up to 1.28 demand it beside the other
    }


def store(claim: str | None, *, read_only: bool) -> tuple[list[Object], list[Object]]:
    """Volumes and mounts of the whole store and of scratch; without a claim of scratch alone."""
    mounts: list[Object] = [{"name": SCRATCH, "mountPath": SCRATCH_PATH}]
    if claim is None:
        return [], mounts
    mount: Object = {"name": MODELS, "mountPath": STORE_PATH} | ({"readOnly": True} if read_only else {})
    return [claim_volume(MODELS, claim, read_only=read_only)], [mount, *mounts]


def container(
    settings: Settings,
    name: str,
    wanted: Resources,
    environment: Sequence[Object],
    mounts: Sequence[Object],
    **process: Sequence[str],
) -> Object:
    """A container of our image; `args` follow its entrypoint, which is `provision`, and `command` replaces it."""
    return {
        "name": name,
        "image": str(settings.image),
        "imagePullPolicy": settings.pull_policy,
        **{key: list(values) for key, values in process.items()},
        "env": list(environment),
        "resources": resources(wanted),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(mounts),
    }


def template(
    settings: Settings,
    component: str,
    facts: Facts,
    container: Object,
    volumes: Sequence[Object],
    *,
    writes: bool = False,
    more: Mapping[str, object] | None = None,
) -> Object:
    """The pod template of a Job."""
    return {
        "metadata": {"labels": pod_labels(settings, component), "annotations": {RELEASE: facts.release}},
        "spec": {
            "restartPolicy": "Never",
            **pod_defaults(settings, writes=writes),
            **(more or {}),
            "containers": [container],
            "volumes": [*volumes, scratch_volume(settings)],
        },
    }


def job(
    settings: Settings,
    name: str,
    component: str,
    facts: Facts,
    template: Object,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A Job about a release; `spec` are keys of the API beside the template."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(settings, name, component, annotations={RELEASE: facts.release, **(annotations or {})}),
        "spec": {**spec, "template": template},
    }
