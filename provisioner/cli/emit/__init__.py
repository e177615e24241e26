"""`provision emit`."""

from __future__ import annotations

import click

from provisioner.cli.emit import chart_values, inspector, job, mount, server, verify, volume


@click.group("emit", short_help="Write the Kubernetes and Compose YAML around a release.")
def command() -> None:
    """Write the Kubernetes and Compose YAML around a release: its volume, the Job that fills it, and who reads it.

    Facts come from the lock and from [kubernetes] and [targets.NAME] of provision.toml; nothing is asked and nothing
    is changed in a cluster. Nothing written is secret: credentials are named, one key of a Secret each.

    \b
    Examples:
      provision emit volume --nfs nas.example:/export/models | kubectl apply -f -
      provision emit job --to pvc -o deploy/mirror && kubectl apply -k deploy/mirror
      provision emit mount --write deployment.yaml
      provision emit server onyx | kubectl apply -f -
    """


for module in (volume, job, verify, inspector, mount, server, chart_values):
    command.add_command(module.command)
