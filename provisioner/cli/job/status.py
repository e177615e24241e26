"""`provision job status`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from provisioner.cli.job.connect import cluster_options
from provisioner.cli.kubernetes import settings_options
from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.render.output import Output


@click.command("status", short_help="The Jobs of this installation, how they are, and their trouble.")
@settings_options
@cluster_options
@output_options
def command(settings: Settings, connect: Callable[[Settings], AbstractContextManager[Cluster]], output: Output) -> None:
    """The Jobs of this installation, how they are, what they left as their summary, and their trouble.

    Mirror Jobs and those of the verify CronJob, the oldest first. It exits with 0 whatever became of them.

    \b
    Examples:
      provision job status
      provision job status --namespace search --json
    """
    from dataclasses import asdict

    from provisioner.ops.job.manage import find, statuses
    from provisioner.render.job import status_table

    with connect(settings) as cluster:
        found = statuses(cluster, find(cluster, settings.name))
        data = {"namespace": cluster.namespace, "jobs": [asdict(one) for one in found]}
        output.result(data, lambda: status_table(cluster.namespace, found))
