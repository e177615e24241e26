"""`provision job`."""

from __future__ import annotations

import click

from provisioner.cli.job import delete, logs, run, status


@click.group("job", short_help="Run and watch the mirror Job in a cluster.")
def command() -> None:
    """Run and watch the mirror Job in a cluster, with the rights and the context that kubectl has.

    `job run` is `emit job`, applied and followed to its end: the pod's progress as that of a local mirror, the usual
    trouble in one sentence as soon as it is seen, the report at the end, and the exit code of the pod.

    \b
    Examples:
      provision job run --to pvc
      provision job run --to nas --namespace search --from minio://minio.storage:9000/models --from hub
      provision job status
      provision job logs -f
      provision job delete --lock-map
    """


for module in (run, status, logs, delete):
    command.add_command(module.command)
