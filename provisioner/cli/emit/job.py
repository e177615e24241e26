"""`provision emit job`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from provisioner.cli.emit.out import out_options
from provisioner.cli.job_options import job_options
from provisioner.cli.kubernetes import facts_option

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings


@click.command("job", short_help="The one-shot Job that mirrors the lock into a volume.")
@job_options
@facts_option
@out_options
def command(to: str, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """The one-shot Job that mirrors the lock into a volume, with the lock as a ConfigMap and a NetworkPolicy.

    The Job is called after the release: a new lock is a new Job, and a finished one goes away by itself. It fails at
    once where a retry would not help, and says why in its termination message. Credentials are keys of Secrets that
    exist: [kubernetes.job.secrets], or --set job.secrets.HF_TOKEN=hf-token/token.

    \b
    Examples:
      provision emit job | kubectl apply -f -
      provision emit job --from minio://minio.storage:9000/models --from hub -o deploy/mirror
      provision emit job --to nas --completions 4
      provision emit job --set job.https_proxy=http://proxy:3128 --set job.ca=corporate-ca/ca.crt
    """
    from provisioner.emit.kubernetes.jobs.mirror import objects

    write(objects(settings, to, settings.target(to), facts), f"The Job that mirrors release {facts.release}.")
