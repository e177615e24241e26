"""How a consumer's pod sees a release: read-only, with somewhere to write and the whole offline environment."""

from __future__ import annotations

from dataclasses import dataclass

from provisioner.emit.environment import environment
from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.objects import (
    MODELS,
    SCRATCH,
    SCRATCH_PATH,
    Object,
    claim_volume,
    scratch_volume,
)
from provisioner.emit.kubernetes.settings import Settings


@dataclass(frozen=True, slots=True)
class Mount:
    """What a pod spec gets, in the API's own words.

    Attributes:
        volumes: of the pod.
        mounts: `volumeMounts` of the container.
        environment: variables of the container.
    """

    release: str
    volumes: tuple[Object, ...]
    mounts: tuple[Object, ...]
    environment: dict[str, str]


def mount(settings: Settings, facts: Facts, claim: str, path: str | None = None) -> Mount:
    """A release of a claim at a path of the container, `mount_path` of the settings unless given.

    The release is named by its folder, so an update is a new folder and a restart, and readers of the old one keep it.
    """
    at = path or str(settings.mount_path)
    sub_path = f"releases/{facts.release}"
    return Mount(
        facts.release,
        (claim_volume(MODELS, claim, read_only=True), scratch_volume(settings)),
        (
            {"name": MODELS, "mountPath": at, "subPath": sub_path, "readOnly": True},
            {"name": SCRATCH, "mountPath": SCRATCH_PATH},
        ),
        environment(facts.lock, at, SCRATCH_PATH),
    )
