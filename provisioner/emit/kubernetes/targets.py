"""The volumes and buckets that `[targets.NAME]` describes."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import fields

from provisioner.emit.kubernetes.names import Host, Name, Namespace, Quantity, Subdomain
from provisioner.emit.kubernetes.places import Account, BucketAddress, Export, Folder, MountOption, Share, Url
from provisioner.errors import Problem
from provisioner.lockfile.schema import problems

_Group = Annotated[str, Meta(min_length=1, max_length=90, pattern=r"^[-\w.()]+\Z")]
_Region = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z0-9-]+\Z")]


class Claim(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="claim"):
    """A claim that exists already.

    Attributes:
        claim: what the Job writes to.
        readers: the claim that consumers mount; None for the same one.
    """

    claim: Subdomain
    readers: Subdomain | None = None


class Nfs(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="nfs"):
    """An NFS export, as one volume for the Job and a read-only one for consumers.

    Attributes:
        path: of the export.
        readers: the claim that consumers mount, `CLAIM-ro` where it is None; the same as `claim` makes it the only one.
        nconnect: TCP connections per mount.
        options: more mount options, after ours.
        size: of the volume; computed from the lock where it is None.
    """

    server: Host
    path: Export
    claim: Name = Name("models")
    readers: Name | None = None
    version: Literal["3", "4.1", "4.2"] = "4.1"
    nconnect: Annotated[int, Meta(ge=1, le=16)] = 4
    options: tuple[MountOption, ...] = ()
    size: Quantity | None = None


class AzureFiles(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="azure-files"):
    """An Azure file share that exists, by the CSI driver file.csi.azure.com.

    Attributes:
        folder: where the store begins in the share; None for its root.
        resource_group: of the account; None for the one of the cluster.
        server: None for ACCOUNT.file.core.windows.net.
        secret: with azurestorageaccountname and azurestorageaccountkey.
        secret_namespace: where it is; None for the namespace of the settings, else default.
        readers, options, size: as of Nfs.
    """

    account: Account
    share: Share
    folder: Folder | None = None
    resource_group: _Group | None = None
    server: Host | None = None
    secret: Subdomain = Subdomain("azure-storage-secret")
    secret_namespace: Namespace | None = None
    claim: Name = Name("models")
    readers: Name | None = None
    options: tuple[MountOption, ...] = ()
    size: Quantity | None = None


class Provisioned(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="storage-class"):
    """A claim that many nodes can write (ReadWriteMany), made by a StorageClass."""

    storage_class: Subdomain | None = None
    claim: Name = Name("models")
    size: Quantity | None = None


class Separate(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="rwo"):
    """Where there is no ReadWriteMany: one claim for each consumer (ReadWriteOnce), each filled by a Job of its own."""

    claims: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=16)] = (Name("inference"), Name("indexing"))
    storage_class: Subdomain | None = None
    size: Quantity | None = None


class Mountpoint(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="s3"):
    """A bucket: written by the Job through its API, mounted read-only by the Mountpoint for S3 CSI driver.

    Attributes:
        address: as `--to` takes it: s3://BUCKET/PREFIX or minio://HOST:PORT/BUCKET/PREFIX.
        endpoint: of the server, for the driver; None for https:// at a minio:// address, else for AWS.
        region: None leaves it to the driver at AWS, and is us-east-1 elsewhere.
        path_style: None is no at AWS, and yes elsewhere.
        authentication: whose credentials the driver takes: its own, or those of the pod's service account.
    """

    address: BucketAddress
    endpoint: Url | None = None
    region: _Region | None = None
    path_style: bool | None = None
    authentication: Literal["driver", "pod"] = "driver"
    claim: Name = Name("models")
    size: Quantity | None = None

    @property
    def bucket(self) -> str:
        """The bucket."""
        return self.address.bucket

    @property
    def prefix(self) -> str:
        """Where the store begins in it: "" or ends with a slash."""
        return self.address.prefix

    @property
    def url(self) -> str:
        """The server; "" for AWS."""
        return self.endpoint or (f"https://{self.address.server}" if self.address.server else "")


Target = Claim | Nfs | AzureFiles | Provisioned | Separate | Mountpoint
KINDS: dict[str, type[Struct]] = {
    "claim": Claim,
    "nfs": Nfs,
    "azure-files": AzureFiles,
    "storage-class": Provisioned,
    "rwo": Separate,
    "s3": Mountpoint,
}


def writers(target: Target) -> tuple[str, ...]:
    """The claims that Jobs write to, one Job each; none for a bucket, which is written through its API."""
    if isinstance(target, Mountpoint):
        return ()
    return target.claims if isinstance(target, Separate) else (target.claim,)


def readers(target: Target) -> tuple[str, ...]:
    """The claims that consumers mount; several where each consumer has its own."""
    if isinstance(target, Separate):
        return target.claims
    if isinstance(target, Nfs | AzureFiles):
        return (target.readers or f"{target.claim}-ro",)
    return ((target.readers if isinstance(target, Claim) else None) or target.claim,)


def is_shared(target: Target) -> bool:
    """Whether pods on many nodes can write it at once; of a claim that exists nobody can say, so it is believed."""
    return isinstance(target, Claim | Nfs | AzureFiles | Provisioned)


def as_toml(name: str, target: Target) -> str:
    """The table of provision.toml that describes it, without what is the default anyway."""
    given = {info.name: value for info in fields(target) if (value := getattr(target, info.name)) != info.default}
    table = {"kind": target.__struct_config__.tag} | given
    return "\n".join([f"[targets.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())])


def target_problems(targets: dict[str, Any]) -> list[Problem]:
    """Everything wrong with the tables of `[targets.*]`."""
    found: list[Problem] = []
    for name, table in targets.items():
        place = f"targets.{name}"
        if not isinstance(table, dict):
            found.append(Problem(place, "not a table"))
        elif (kind := KINDS.get(str(table.get("kind")))) is None:
            found.append(Problem(f"{place}.kind", f"is one of {', '.join(KINDS)}"))
        else:
            found += problems({key: value for key, value in table.items() if key != "kind"}, kind, place)
    return found
