"""The Job that deletes old releases from a volume, once nobody mounts them any more."""

from __future__ import annotations

from collections.abc import Collection

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import network, pods
from provisioner.emit.kubernetes.jobs.environment import ca_volume, environment, plain
from provisioner.emit.kubernetes.jobs.pods import (
    ENVIRONMENT,
    container,
    failure_policy,
    for_writers,
    literal,
    store,
    template,
)
from provisioner.emit.kubernetes.objects import Object, variables
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Mountpoint, Target

COMPONENT = "prune"
_DEADLINE = 3600  # seconds; deleting a thousand files of a slow share takes minutes


def objects(settings: Settings, target: Target, facts: Facts, keep: int, spare: Collection[str]) -> list[Object]:
    """A Job for each claim of the target, or one for a bucket: all but the newest releases go, and none of `spare`.

    Those of claims need no network, and a NetworkPolicy says so. Raises InvalidInput for a name that is too long and
    InvalidDocument for a secret in the open.
    """
    args = _args(target, keep, {*spare, facts.release})
    result = [] if isinstance(target, Mountpoint) else network.closed(settings, COMPONENT)
    for name, claim in for_writers(target, f"{settings.name}-{COMPONENT}-{facts.release}").items():
        pod = _of_bucket(settings, target, facts, args) if claim is None else _of_claim(settings, claim, facts, args)
        result.append(_job(settings, facts, name, pod))
    return result


def _args(target: Target, keep: int, spare: Collection[str]) -> list[str]:
    at = literal(target.address) if isinstance(target, Mountpoint) else "pvc"
    spared = [word for release in sorted(spare) for word in ("--spare", release)]
    return ["releases", "prune", "--at", at, "--keep", str(keep), *spared, "--json"]


def _job(settings: Settings, facts: Facts, name: str, pod: Object) -> Object:
    return pods.job(
        settings,
        name,
        COMPONENT,
        facts,
        pod,
        backoffLimit=settings.job.retries,
        activeDeadlineSeconds=_DEADLINE,
        ttlSecondsAfterFinished=settings.job.ttl,
        podFailurePolicy=failure_policy(COMPONENT),
    )


def _of_claim(settings: Settings, claim: str, facts: Facts, args: list[str]) -> Object:
    """A pod without the Secrets and variables of the sources: it reads none."""
    volumes, mounts = store(claim, read_only=False)
    one = container(settings, COMPONENT, settings.job.resources, variables(ENVIRONMENT), mounts, args=args)
    return template(settings, COMPONENT, facts, one, volumes, writes=True)


def _of_bucket(settings: Settings, target: Target, facts: Facts, args: list[str]) -> Object:
    """A pod that reaches the bucket as the mirror Job does."""
    volumes, mounts = ca_volume(settings.job)
    env = environment(settings.job, plain(settings.job, target))
    _, scratch = store(None, read_only=False)
    one = container(settings, COMPONENT, settings.job.resources, env, [*scratch, *mounts], args=args)
    return template(settings, COMPONENT, facts, one, volumes)
