"""Volumes and claims for every kind of target, read-write for the Job and read-only for consumers."""

from __future__ import annotations

from provisioner.emit.kubernetes.facts import Facts
from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.kubernetes.quantities import bytes_of, gibibytes, room
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import AzureFiles, Claim, Mountpoint, Nfs, Provisioned, Separate, Target
from provisioner.emit.kubernetes.volumes import azure, nfs, s3
from provisioner.emit.kubernetes.volumes.static import MANY_WRITE, ONE_WRITES, claim
from provisioner.errors import InvalidInput, UsageError


def objects(settings: Settings, target: Target, facts: Facts) -> list[Object]:
    """The volumes, then the claims.

    Raises UsageError for a claim that exists already, InvalidInput for a size that does not hold the release.
    """
    if isinstance(target, Claim):
        raise UsageError(
            f"The claim {target.claim} exists already: there is nothing to emit.",
            hint="Describe what is to be made: --nfs, --azure, --storage-class, --rwo, --s3, or a [targets.NAME].",
        )
    size = capacity(target, facts)
    if isinstance(target, Nfs):
        return nfs.objects(settings, target, size)
    if isinstance(target, AzureFiles):
        return azure.objects(settings, target, size)
    if isinstance(target, Mountpoint):
        return s3.objects(settings, target, size)
    if isinstance(target, Separate):
        return [claim(settings, name, ONE_WRITES, size, target.storage_class) for name in target.claims]
    return [claim(settings, target.claim, MANY_WRITE, size, target.storage_class)]


def capacity(target: Nfs | AzureFiles | Mountpoint | Separate | Provisioned, facts: Facts) -> str:
    """What a volume asks for: two releases and headroom, or the size that was given.

    Raises InvalidInput when that does not hold the release.
    """
    needed = gibibytes(room(facts.size))
    if target.size is None:
        return needed
    if bytes_of(target.size) < facts.size:
        raise InvalidInput(
            f"A volume of {target.size} does not hold release {facts.release}, which has {facts.size} bytes.",
            hint=f"Leave size out, or make it {needed} (two releases and headroom); the least is "
            f"{gibibytes(room(facts.size, 1))}.",
        )
    return str(target.size)


def notes(settings: Settings, target: Target, facts: Facts) -> list[str]:
    """What the reader of the YAML has to know or do, one sentence a line."""
    found = []
    if isinstance(target, Nfs | AzureFiles | Mountpoint):
        found += _static_notes(settings)
    if isinstance(target, AzureFiles):
        found += azure.notes(settings, target)
    if isinstance(target, Mountpoint):
        found += s3.notes(target)
    elif not isinstance(target, Claim) and target.size and bytes_of(target.size) < room(facts.size):
        found.append(
            f"{target.size} holds one release: for an update, `provision releases prune` has to make room first, or "
            f"give it {gibibytes(room(facts.size))}."
        )
    return found


def _static_notes(settings: Settings) -> list[str]:
    if settings.namespace:
        return []
    return [
        "No namespace is set, so the volumes are not reserved for the claims (claimRef needs one) and their names are "
        "those of the claims, once in a cluster. Better: --namespace NAME."
    ]
