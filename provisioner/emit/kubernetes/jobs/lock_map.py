"""The lock as a ConfigMap, and where pods see it."""

from __future__ import annotations

from collections.abc import Mapping

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.names import AbsolutePath
from provisioner.emit.kubernetes.objects import RELEASE, Object, metadata
from provisioner.emit.kubernetes.settings import Settings

KEY = "models.lock"
FOLDER = "/etc/provision"
PATH = f"{FOLDER}/{KEY}"
_VOLUME = "lock"


def name(settings: Settings, facts: Facts) -> str:
    """The ConfigMap of this lock: another lock is another object, so nothing changes under a running Job."""
    return f"{settings.name}-lock-{facts.digest[:12]}"


def config_map(
    settings: Settings, facts: Facts, name: str, component: str, annotations: Mapping[str, str] | None = None
) -> Object:
    """The ConfigMap; immutable, so nothing can change under a pod that runs. Raises InvalidInput for a large lock."""
    facts.require_small()
    marks = {RELEASE: facts.release, **(annotations or {})}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(settings, name, component, annotations=marks),
        "immutable": True,
        "data": {KEY: facts.text},
    }


def mounted(name: str, in_image: AbsolutePath | None) -> tuple[str, list[Object], list[Object]]:
    """Where a container has the lock, with the volumes and mounts that bring it there."""
    if in_image is not None:
        return str(in_image), [], []
    return (
        PATH,
        [{"name": _VOLUME, "configMap": {"name": name}}],
        [{"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}],
    )
