"""An Azure file share as volumes of the driver file.csi.azure.com.

https://github.com/kubernetes-sigs/azurefile-csi-driver/blob/master/docs/driver-parameters.md
"""

from __future__ import annotations

from provisioner.emit.kubernetes.objects import Object
from provisioner.emit.kubernetes.settings import Settings
from provisioner.emit.kubernetes.targets import AzureFiles, readers
from provisioner.emit.kubernetes.volumes.static import MANY_READ, MANY_WRITE, Binding, pairs, volume_name

DRIVER = "file.csi.azure.com"
_RECOMMENDED = ("mfsymlinks", "nobrl", "cache=strict", "actimeo=30", "nosharesock")


def objects(settings: Settings, target: AzureFiles, size: str) -> list[Object]:
    """A volume to write and one to read, and their claims."""
    options = _options(settings, target)
    found = [Binding(target.claim, MANY_WRITE, size, _source(settings, target, target.claim), options)]
    found += [
        Binding(reader, MANY_READ, size, _source(settings, target, reader), [*options, "ro"])
        for reader in readers(target)
        if reader != target.claim
    ]
    return pairs(settings, found)


def notes(settings: Settings, target: AzureFiles) -> list[str]:
    """The secret that the driver takes."""
    where = _secret_namespace(settings, target)
    return [
        f"The account's key, which is never written here: kubectl -n {where} create secret generic {target.secret} "
        f'--from-literal=azurestorageaccountname={target.account} --from-literal=azurestorageaccountkey="$KEY"'
    ]


def _secret_namespace(settings: Settings, target: AzureFiles) -> str:
    return str(target.secret_namespace or settings.namespace or "default")


def _source(settings: Settings, target: AzureFiles, claim: str) -> Object:
    attributes = {
        "resourceGroup": target.resource_group,
        "storageAccount": target.account,
        "shareName": target.share,
        "folderName": target.folder,
        "server": target.server,
    }
    # One mount for each handle on a node: two volumes with one handle would share it, whoever came first.
    # https://github.com/kubernetes-sigs/azurefile-csi-driver/issues/1137
    handle = f"{target.account}_{target.share}_{volume_name(settings, claim)}"
    return {
        "csi": {
            "driver": DRIVER,
            "volumeHandle": handle,
            "volumeAttributes": {key: str(value) for key, value in attributes.items() if value is not None},
            "nodeStageSecretRef": {"name": str(target.secret), "namespace": _secret_namespace(settings, target)},
        }
    }


def _options(settings: Settings, target: AzureFiles) -> list[str]:
    """SMB has no owners and modes of its own, and fsGroup does nothing: the mount says whose all files are.

    In OpenShift the uid is one of the namespace's range, unknown here, and the group is always 0.
    """
    if settings.openshift:
        owner = ["uid=0", "gid=0", "dir_mode=0775", "file_mode=0664"]
    else:
        owner = [f"uid={settings.user}", f"gid={settings.group}", "dir_mode=0755", "file_mode=0644"]
    return [*owner, *_RECOMMENDED, *(str(option) for option in target.options)]
