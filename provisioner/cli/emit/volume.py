"""`provision emit volume`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from provisioner.cli.emit.out import out_options
from provisioner.cli.emit.target import target_options
from provisioner.cli.kubernetes import facts_option, settings_options

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings


@click.command("volume", short_help="The volume that holds the releases, and its claims.")
@target_options
@facts_option
@settings_options
@out_options
def command(to: str, short: bool, facts: Facts, settings: Settings, write: Callable[..., None]) -> None:
    """The PersistentVolumes and claims of a target: one to write for the mirror Job, one to read for consumers.

    The target is [targets.NAME] of provision.toml, or what the options say. A volume holds two releases of the lock and
    headroom unless --size says otherwise. Volumes are kept when their claims go (Retain); those of a StorageClass are
    its own business. Secrets are named, never written: a comment says which have to be there.

    \b
    Examples:
      provision emit volume --nfs nas.example:/export/models --namespace search | kubectl apply -f -
      provision emit volume --azure acmestore/models --set targets.pvc.resource_group=prod-rg -o deploy/volume
      provision emit volume --storage-class ceph-filesystem --size 200Gi
      provision emit volume --storage-class gp3 --rwo inference --rwo indexing
      provision emit volume --s3 minio://minio.storage:9000/models/llm --set targets.pvc.endpoint=http://minio.storage:9000
      provision emit volume --to archive
    """
    from provisioner.emit.kubernetes.targets import as_toml
    from provisioner.emit.kubernetes.volumes import objects as volumes

    target = settings.target(to)
    made = volumes.objects(settings, target, facts)
    notes = volumes.notes(settings, target, facts)
    if short:
        notes += ["For the other commands, in provision.toml:", *as_toml(to, target).splitlines()]
    write(made, "\n".join(notes))
