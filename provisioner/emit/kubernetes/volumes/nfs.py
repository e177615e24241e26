"""An NFS export as volumes."""

from __future__ import annotations

from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import Nfs, readers
from provisioner.emit.kubernetes.volumes.static import MANY_READ, MANY_WRITE, Binding, pairs


def objects(settings: Settings, target: Nfs, size: str) -> list[Object]:
    """A volume to write and one to read, and their claims."""
    source = {"nfs": {"server": str(target.server), "path": str(target.path)}}
    options = _options(target)
    found = [Binding(target.claim, MANY_WRITE, size, source, options)]
    found += [
        Binding(reader, MANY_READ, size, {"nfs": source["nfs"] | {"readOnly": True}}, [*options, "ro"])
        for reader in readers(target)
        if reader != target.claim
    ]
    return pairs(settings, found)


def _options(target: Nfs) -> list[str]:
    """`hard`: a server that is away for a while must stop readers, not hand them errors as if they were bytes.

    No `noatime`: the client of Linux does not know it, as nfs(5) says.
    """
    found = [f"nfsvers={target.version}", "hard"]
    if target.nconnect > 1:
        found.append(f"nconnect={target.nconnect}")
    return found + [str(option) for option in target.options]
