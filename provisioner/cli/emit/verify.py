"""`provision emit verify`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from provisioner.cli.emit.out import out_options
from provisioner.cli.kubernetes import facts_option, settings_options

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings


@click.command("verify", short_help="A CronJob that reads the release at rest again.")
@click.option("--at", metavar="NAME", default="pvc", show_default=True, help="The target: a [targets.NAME], or pvc.")
@click.option("--schedule", metavar="CRON", help="When, as cron writes it.  [default: 17 3 * * 0, Sundays]")
@settings_options
@facts_option
@out_options
def command(at: str, schedule: str | None, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """A CronJob that reads the release at rest again, every byte, and fails where one is not what the lock says.

    It mounts the consumers' claim read-only and needs no credentials. docs/job.md has an alert for its failure. After
    a new lock, apply its output again: the CronJob keeps its name.

    \b
    Examples:
      provision emit verify | kubectl apply -f -
      provision emit verify --at nas --schedule "0 4 * * *"
      provision emit verify --set verify.mode=recorded
    """
    from provisioner.emit.kubernetes.jobs.verify import objects

    settings = _scheduled(settings, schedule) if schedule is not None else settings
    write(objects(settings, settings.target(at), facts), f"The CronJob that verifies release {facts.release} at rest.")


def _scheduled(settings: Settings, schedule: str) -> Settings:
    from msgspec.structs import replace

    from provisioner.emit.kubernetes.names import Schedule

    try:
        return replace(settings, verify=replace(settings.verify, schedule=Schedule(schedule)))
    except ValueError as error:
        raise click.BadParameter(f"{schedule} is {error}.", param_hint="--schedule") from None
