"""`provision job delete`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from provisioner.cli.job.connect import cluster_options
from provisioner.cli.kubernetes import settings_options
from provisioner.cli.options import lock_option, output_options

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.render.output import Output


@click.command("delete", short_help="Delete mirror Jobs and their pods; claims and releases stay.")
@click.argument("jobs", nargs=-1)
@click.option("--all", "every", is_flag=True, help="The mirror Jobs of all releases.")
@click.option("--lock-map", is_flag=True, help="Also the ConfigMaps of locks that no Job uses any more.")
@lock_option
@settings_options
@cluster_options
@output_options
def command(
    jobs: tuple[str, ...],
    every: bool,
    lock_map: bool,
    lock: str,
    settings: Settings,
    connect: Callable[[Settings], AbstractContextManager[Cluster]],
    output: Output,
) -> None:
    """Delete JOBS and, in the background, their pods; the mirror Jobs of the lock's release unless JOBS are given.

    The claims, the volumes and all releases stay. What a running Job had verified stays in the store for the next one.

    \b
    Examples:
      provision job delete
      provision job delete models-mirror-7f3c9a1b2d4e
      provision job delete --all --lock-map
    """
    from provisioner.cli.kubernetes import read_facts
    from provisioner.errors import UsageError
    from provisioner.ops.job.manage import chosen, delete, delete_lock_maps

    if jobs and every:
        raise UsageError("--all and the names of Jobs exclude each other.")
    release = None if jobs or every else read_facts(lock).release
    with connect(settings) as cluster:
        gone = delete(cluster, chosen(cluster, settings.name, jobs, release))
        maps = delete_lock_maps(cluster, settings.name, gone) if lock_map else []
    output.result(
        {"jobs": gone, "config_maps": maps},
        lambda: "\n".join(f"Deleted {one}" for one in [*gone, *maps]) or "There was nothing to delete.",
    )
