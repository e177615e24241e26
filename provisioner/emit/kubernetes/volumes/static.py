"""A volume that exists outside of the cluster, bound to one claim and to no other; and claims by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.emit.kubernetes.objects import Object, metadata
from provisioner.emit.kubernetes.settings import Settings

COMPONENT = "volume"
MANY_WRITE = "ReadWriteMany"
MANY_READ = "ReadOnlyMany"
ONE_WRITES = "ReadWriteOnce"


@dataclass(frozen=True, slots=True)
class Binding:
    """A claim and the volume that is made for it.

    Attributes:
        mode: the only access mode. The CSI drivers for Azure Files and S3 mount read-only when it is ReadOnlyMany; for
            NFS nothing but the mount option does it.
        source: of the volume: {"nfs": ...} or {"csi": ...}.
    """

    claim: str
    mode: str
    size: str
    source: Object
    options: Sequence[str]

    def objects(self, settings: Settings) -> tuple[Object, Object]:
        """The volume and the claim, each naming the other.

        One of both would not do: a volume without claimRef may be taken by another claim, a claim without volumeName
        may take another volume.
        """
        return self._volume(settings), self._claim(settings)

    def _volume(self, settings: Settings) -> Object:
        name = volume_name(settings, self.claim)
        spec: Object = {
            "capacity": {"storage": self.size},
            "accessModes": [self.mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "volumeMode": "Filesystem",
            "mountOptions": list(self.options),
        }
        if settings.namespace:
            spec["claimRef"] = {"namespace": str(settings.namespace), "name": str(self.claim)}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": metadata(settings, name, COMPONENT, cluster=True),
            "spec": spec | self.source,
        }

    def _claim(self, settings: Settings) -> Object:
        found = claim(settings, self.claim, self.mode, self.size, "")
        found["spec"]["volumeName"] = volume_name(settings, self.claim)
        return found


def volume_name(settings: Settings, claim: str) -> str:
    """`NAMESPACE.CLAIM`: volumes have no namespace, so two installations must not mean the same one."""
    return f"{settings.namespace}.{claim}" if settings.namespace else str(claim)


def pairs(settings: Settings, bindings: Sequence[Binding]) -> list[Object]:
    """The volumes, then the claims."""
    made = [binding.objects(settings) for binding in bindings]
    return [volume for volume, _ in made] + [claim for _, claim in made]


def claim(settings: Settings, name: str, mode: str, size: str, storage_class: str | None) -> Object:
    """A claim; None is the cluster's default class, "" none at all."""
    spec: Object = {"accessModes": [mode], "volumeMode": "Filesystem"}
    if storage_class is not None:
        spec["storageClassName"] = str(storage_class)
    spec["resources"] = {"requests": {"storage": size}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(settings, str(name), COMPONENT),
        "spec": spec,
    }
