"""A pod with the store mounted read-only, to look at it by `kubectl exec`; it goes away by itself."""

from __future__ import annotations

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.jobs import lock_map, network, pods
from provisioner.emit.kubernetes.jobs.pods import ENVIRONMENT, LONGEST_JOB, container, for_readers, store, template
from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.objects import Object, variables
from provisioner.emit.kubernetes.settings import Resources, Settings
from provisioner.emit.kubernetes.targets import Target

COMPONENT = "inspector"  # also the name of the container
_RESOURCES = Resources(cpu=Quantity("100m"), memory=Quantity("128Mi"), memory_limit=Quantity("512Mi"))
_TTL = 60  # seconds that an ended one stays to be seen


def objects(settings: Settings, target: Target, facts: Facts, seconds: int) -> list[Object]:
    """ConfigMap, NetworkPolicy, and a Job of one pod for each claim that consumers mount.

    A Job, since a bare Pod that has ended stays, and the next apply would find it and start nothing.
    Raises InvalidInput for a lock that is too large or a name that is too long.
    """
    lock_name = f"{lock_map.name(settings, facts)}-{COMPONENT}"
    result: list[Object] = []
    if settings.job.lock_path is None:
        result.append(lock_map.config_map(settings, facts, lock_name, COMPONENT))
    result += network.closed(settings, COMPONENT)
    for name, claim in jobs(settings, target).items():
        result.append(_job(settings, facts, lock_name, name, claim, seconds))
    return result


def jobs(settings: Settings, target: Target) -> dict[str, str]:
    """What the Jobs are called, and the claim that each mounts. Raises InvalidInput."""
    return for_readers(settings, target, COMPONENT, LONGEST_JOB)


def _job(settings: Settings, facts: Facts, lock_name: str, name: str, claim: str, seconds: int) -> Object:
    lock, lock_volumes, lock_mounts = lock_map.mounted(lock_name, settings.job.lock_path)
    volumes, mounts = store(claim, read_only=True)
    inspector = container(
        settings,
        COMPONENT,
        _RESOURCES,
        variables({key: value for key, value in ENVIRONMENT.items() if key != "PROVISION_SUMMARY"})
        + variables({"PROVISION_LOCK": lock}),
        [*mounts, *lock_mounts],
        command=["python3", "-c", f"import time; time.sleep({seconds})"],
    )
    stop: Object = {"terminationGracePeriodSeconds": 1}  # Python as process 1 does not hear SIGTERM
    pod = template(settings, COMPONENT, facts, inspector, [*volumes, *lock_volumes], more=stop)
    limits: Object = {"backoffLimit": 0, "activeDeadlineSeconds": seconds, "ttlSecondsAfterFinished": _TTL}
    return pods.job(settings, name, COMPONENT, facts, pod, **limits)
