"""The one-shot mirror Job, with its lock and its NetworkPolicy."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import deadline, gitops, lock_map, network, pods
from provisioner.emit.kubernetes.jobs.environment import ca_volume, environment, plain
from provisioner.emit.kubernetes.jobs.pods import (
    LONGEST_JOB,
    container,
    failure_policy,
    for_writers,
    literal,
    store,
    template,
)
from provisioner.emit.kubernetes.jobs.sources import check_source
from provisioner.emit.kubernetes.objects import Object, selector
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Mountpoint, Target, is_shared
from provisioner.errors import UsageError

COMPONENT = "mirror"  # also the name of the container


def objects(settings: Settings, target_name: str, target: Target, facts: Facts) -> list[Object]:
    """ConfigMap, NetworkPolicy, and a Job for each claim of the target, or one for a bucket.

    Raises UsageError for a source that a pod cannot read and for completions that the target cannot take, InvalidInput
    for a lock that is too large, a name that is too long and a secret in the open.
    """
    job = settings.job
    _check(settings, target_name, target)
    env = plain(job, target)
    before = gitops.marks(job.gitops, wave=-1)
    result: list[Object] = []
    if job.lock_path is None:
        result.append(lock_map.config_map(settings, facts, lock_map.name(settings, facts), COMPONENT, before))
    if job.network_policy:
        result.append(network.policy(settings, COMPONENT, network.egress(job, target, env), before))
    for name, claim in jobs(settings, target, facts).items():
        pod = _template(settings, target, facts, claim, env)
        result.append(_job(settings, facts, name, pod))
    return result


def jobs(settings: Settings, target: Target, facts: Facts) -> dict[str, str | None]:
    """What the Jobs are called, and the claim that each fills, None for a bucket. Raises InvalidInput."""
    name = f"{settings.name}-{COMPONENT}-{facts.release}"
    last = settings.job.completions - 1  # an Indexed Job's pods are called by their number too
    return for_writers(target, name, LONGEST_JOB - (len(f"-{last}") if last else 0))


def _check(settings: Settings, target_name: str, target: Target) -> None:
    for source in settings.job.sources:
        check_source(source)
    if settings.job.completions > 1 and not is_shared(target):
        raise UsageError(
            f"{target_name} is no volume that {settings.job.completions} pods on many nodes can write.",
            hint="Leave completions at 1, or use a target of the kind nfs, azure-files or storage-class.",
        )


def _job(settings: Settings, facts: Facts, name: str, pod: Object) -> Object:
    job = settings.job
    spec: Object = {"backoffLimit": job.retries * job.completions}
    if job.completions > 1:
        spec |= {"completionMode": "Indexed", "completions": job.completions, "parallelism": job.completions}
    spec["activeDeadlineSeconds"] = job.deadline or deadline.seconds(facts.size, 2 if job.verify == "full" else 1)
    if job.gitops != "hook":  # a hook that is gone before the controller has seen its end never ends (argo-cd#21055)
        spec["ttlSecondsAfterFinished"] = job.ttl
    spec["podFailurePolicy"] = failure_policy(COMPONENT)
    return pods.job(settings, name, COMPONENT, facts, pod, gitops.marks(job.gitops), **spec)


def _template(settings: Settings, target: Target, facts: Facts, claim: str | None, env: Mapping[str, str]) -> Object:
    to = target.address if isinstance(target, Mountpoint) else "pvc"
    lock, lock_volumes, lock_mounts = lock_map.mounted(lock_map.name(settings, facts), settings.job.lock_path)
    ca_volumes, ca_mounts = ca_volume(settings.job)
    volumes, mounts = store(claim, read_only=False)
    mirror = container(
        settings,
        COMPONENT,
        settings.job.resources,
        environment(settings.job, env),
        [*mounts, *lock_mounts, *ca_mounts],
        args=_args(settings, to, lock),
    )
    every = [*volumes, *lock_volumes, *ca_volumes]
    return template(settings, COMPONENT, facts, mirror, every, writes=claim is not None, more=_spread(settings))


def _spread(settings: Settings) -> Object:
    """Pods that share the work want a node each, for its network, where there are enough."""
    if settings.job.completions == 1:
        return {}
    rule = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(settings, COMPONENT)},
    }
    return {"topologySpreadConstraints": [rule]}


def _args(settings: Settings, to: str, lock: str) -> list[str]:
    job = settings.job
    args = ["mirror", "--to", literal(to)]
    for source in job.sources:
        args += ["--from", literal(source)]
    args += ["--lock", lock, "--verify", job.verify, "--json"]
    if job.completions > 1:
        args += ["--shard", f"$(JOB_COMPLETION_INDEX)/{job.completions}"]
    return args
