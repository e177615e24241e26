"""The Job that deletes old releases from a volume, once nobody mounts them any more."""

from __future__ import annotations

from collections.abc import Collection

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs.environment import ca_volume, environment, plain
from provisioner.emit.kubernetes.jobs.pods import (
    LONGEST_JOB,
    container,
    failure_policy,
    fitting,
    literal,
    store,
    template,
)
from provisioner.emit.kubernetes.objects import RELEASE, Object, metadata
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Mountpoint, Separate, Target, writers

COMPONENT = "prune"
_DEADLINE = 3600  # seconds; deleting a thousand files of a slow share takes minutes


def objects(settings: Settings, target: Target, facts: Facts, keep: int, spare: Collection[str]) -> list[Object]:
    """A Job for each claim of the target, or one for a bucket: all but the newest releases go, and none of `spare`.

    Raises InvalidInput for a name that is too long and a secret in the open.
    """
    name = f"{settings.name}-{COMPONENT}-{facts.release}"
    if isinstance(target, Separate):
        return [_job(settings, target, facts, f"{name}-{one}", one, keep, spare) for one in target.claims]
    return [_job(settings, target, facts, name, next(iter(writers(target)), None), keep, spare)]


def _job(
    settings: Settings, target: Target, facts: Facts, name: str, claim: str | None, keep: int, spare: Collection[str]
) -> Object:
    spec: Object = {
        "backoffLimit": settings.job.retries,
        "activeDeadlineSeconds": _DEADLINE,
        "ttlSecondsAfterFinished": settings.job.ttl,
        "podFailurePolicy": failure_policy(COMPONENT),
        "template": _template(settings, target, facts, claim, keep, spare),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(settings, fitting(name, LONGEST_JOB), COMPONENT, annotations={RELEASE: facts.release}),
        "spec": spec,
    }


def _template(
    settings: Settings, target: Target, facts: Facts, claim: str | None, keep: int, spare: Collection[str]
) -> Object:
    at = literal(target.address) if isinstance(target, Mountpoint) else "pvc"
    args = ["releases", "prune", "--at", at, "--keep", str(keep)]
    for release in sorted({*spare, facts.release}):
        args += ["--spare", release]
    ca_volumes, ca_mounts = ca_volume(settings.job)
    volumes, mounts = store(claim, read_only=False)
    one = container(
        settings,
        COMPONENT,
        settings.job.resources,
        environment(settings.job, plain(settings.job, target)),
        [*mounts, *ca_mounts],
        args=[*args, "--json"],
    )
    return template(settings, COMPONENT, facts, one, [*volumes, *ca_volumes], writes=claim is not None)
