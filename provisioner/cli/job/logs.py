"""`provision job logs`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import click

from provisioner.cli.job.connect import cluster_options, every_option
from provisioner.cli.kubernetes import settings_options
from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.cluster.client import Cluster
    from provisioner.emit.kubernetes.settings import Settings
    from provisioner.render.output import Output


@click.command("logs", short_help="What the pods of a Job said.")
@click.argument("job", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on until the Job is over.")
@every_option
@settings_options
@cluster_options
@output_options
def command(
    job: str | None,
    follow: bool,
    every: float,
    settings: Settings,
    connect: Callable[[Settings], AbstractContextManager[Cluster]],
    output: Output,
) -> None:
    """What the pods of JOB said, as lines; the mirror Job that was made last unless JOB is given.

    With --json the pods' own lines, unchanged but for control characters, which become escapes. Of several pods each
    line begins with its pod. Ctrl-C leaves the Job running. It exits with 0 whatever became of the Job, and with 5
    where a log could not be had.

    \b
    Examples:
      provision job logs
      provision job logs -f
      provision job logs models-mirror-7f3c9a1b2d4e --json | jq .event
    """
    from provisioner.ops.job.listen import listen
    from provisioner.ops.job.manage import newest
    from provisioner.render.job import LogLines

    shown, silent = LogLines(raw=output.as_json), True
    with connect(settings) as cluster:
        wanted = newest(cluster, settings.name, job)
        for pod, text, several in listen(cluster, wanted, every, output.warn, follow=follow):
            silent = False
            for line in shown.lines(pod, text, several):
                output.text(line)
    if silent:
        output.note("No pod of it has said anything. Why: provision job status")
