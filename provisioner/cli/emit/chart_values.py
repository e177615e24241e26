"""`provision emit chart-values`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from provisioner.cli.kubernetes import facts_option, settings_options

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings


@click.command("chart-values", short_help="Values for the Helm chart: settings, target and lock.")
@click.option("--to", metavar="NAME", default="pvc", show_default=True, help="The target: a [targets.NAME], or pvc.")
@settings_options
@facts_option
def command(to: str, settings: Settings, facts: Facts) -> None:
    """Values for the Helm chart in manifests/chart: the settings that are not the defaults, the target, and the lock.

    The keys are those of provision.toml, so what --set changes here, helm's --set changes too. After a new lock print
    them again: the release, sizes and deadlines are computed from it.

    \b
    Examples:
      provision emit chart-values > values.yaml
      helm upgrade --install models manifests/chart -n search -f values.yaml
      provision emit chart-values --to nas --set job.completions=4
    """
    from provisioner.emit.kubernetes.chart_values import values
    from provisioner.emit.yaml import dump

    made = values(settings, settings.target(to), facts)
    click.echo(dump([made], f"For manifests/chart: release {facts.release}."), nl=False)
