"""The CronJob that reads a release at rest again, and fails where a byte is not what the lock says."""

from __future__ import annotations

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import deadline, lock_map, network, pods
from provisioner.emit.kubernetes.jobs.pods import (
    ENVIRONMENT,
    LONGEST_CRON_JOB,
    container,
    failure_policy,
    for_readers,
    store,
    template,
)
from provisioner.emit.kubernetes.objects import Object, variables
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Target

COMPONENT = "verify"  # also the name of the container
_LATE = 6 * 3600  # seconds after its time that a run still starts
_RETRIES = 2


def objects(settings: Settings, target: Target, facts: Facts) -> list[Object]:
    """ConfigMap, NetworkPolicy, and a CronJob for each claim that consumers mount.

    The ConfigMap is its own and not the mirror Job's, so that either can be applied and deleted without the other.
    Raises InvalidInput for a lock that is too large or a name that is too long.
    """
    lock_name = f"{lock_map.name(settings, facts)}-{COMPONENT}"
    result: list[Object] = []
    if settings.job.lock_path is None:
        result.append(lock_map.config_map(settings, facts, lock_name, COMPONENT))
    result += network.closed(settings, COMPONENT)
    for name, claim in for_readers(settings, target, COMPONENT, LONGEST_CRON_JOB).items():
        result.append(_cron_job(settings, facts, lock_name, name, claim))
    return result


def _cron_job(settings: Settings, facts: Facts, lock_name: str, name: str, claim: str) -> Object:
    passes = 1 if settings.verify.mode == "full" else 0
    spec: Object = {
        "backoffLimit": _RETRIES,
        "activeDeadlineSeconds": settings.verify.deadline or deadline.seconds(facts.size, passes),
        "podFailurePolicy": failure_policy(COMPONENT),
    }
    job = pods.job(settings, name, COMPONENT, facts, _template(settings, facts, lock_name, claim), **spec)
    marks = {key: job["metadata"][key] for key in ("labels", "annotations")}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": job["metadata"],
        "spec": {
            "schedule": str(settings.verify.schedule),
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _LATE,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": marks, "spec": job["spec"]},
        },
    }


def _template(settings: Settings, facts: Facts, lock_name: str, claim: str) -> Object:
    lock, lock_volumes, lock_mounts = lock_map.mounted(lock_name, settings.job.lock_path)
    volumes, mounts = store(claim, read_only=True)
    what = ["--at", "pvc", "--release", facts.release, "--lock", lock, "--mode", settings.verify.mode]
    verify = container(
        settings,
        COMPONENT,
        settings.verify.resources,
        variables(ENVIRONMENT),
        [*mounts, *lock_mounts],
        args=["verify", *what, "--json"],
    )
    return template(settings, COMPONENT, facts, verify, [*volumes, *lock_volumes])
