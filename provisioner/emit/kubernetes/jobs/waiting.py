"""An init container that lets a pod start only once its release is there and checked."""

from __future__ import annotations

from provisioner.emit.kubernetes.jobs.pods import ENVIRONMENT, container, store
from provisioner.emit.kubernetes.names import Quantity
from provisioner.emit.kubernetes.objects import Object, container_security, variables
from provisioner.emit.kubernetes.settings import Resources, Settings

WAIT = "wait-for-models"
_RESOURCES = Resources(Quantity("100m"), Quantity("128Mi"), None, Quantity("512Mi"))


def wait_container(settings: Settings, claim: str, release: str, seconds: int) -> Object:
    """Waits so many seconds for a release and checks it against its own record.

    It needs the volumes of `mount()` in its pod. It sees the whole claim, since the folder of the release, which the
    other containers mount, may not be there yet when it starts.
    """
    arguments = ["verify", "--at", "pvc", "--release", release, "--mode", "recorded", "--wait", str(seconds)]
    _, mounts = store(claim, read_only=True)
    made = container(settings, WAIT, _RESOURCES, variables(ENVIRONMENT), mounts, args=arguments)
    return made | {"securityContext": _security(settings)}


def _security(settings: Settings) -> Object:
    """All of it: what the pod itself says is its owner's, and may be nothing."""
    context = container_security() | {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if not settings.openshift:
        context |= {"runAsUser": settings.user, "runAsGroup": settings.group}
    return context
