"""`provision emit inspector`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from provisioner.cli.emit.out import out_options
from provisioner.cli.kubernetes import facts_option, settings_options

if TYPE_CHECKING:
    from provisioner.emit.kubernetes.facts import Facts
    from provisioner.emit.kubernetes.settings import Settings

COMMANDS = ("status --at pvc --check", "releases list --at pvc", "verify --at pvc --mode recorded")


@click.command("inspector", short_help="A pod to look at the volume with, which goes away by itself.")
@click.option("--at", metavar="NAME", default="pvc", show_default=True, help="The target: a [targets.NAME], or pvc.")
@click.option(
    "--seconds",
    metavar="N",
    type=click.IntRange(60, 86400),
    default=3600,
    show_default=True,
    help="How long it stays.",
)
@settings_options
@facts_option
@out_options
def command(at: str, seconds: int, settings: Settings, facts: Facts, write: Callable[..., None]) -> None:
    """A pod to look at the volume with: the consumers' claim mounted read-only, and `provision` in it.

    It sleeps for an hour, and goes away by itself. What to run in it stands at the top of the output.

    \b
    Examples:
      provision emit inspector | kubectl apply -f -
      kubectl exec job/models-inspector -- provision status --at pvc --check
      provision emit inspector --at nas --seconds 600
    """
    from provisioner.emit.kubernetes.jobs.inspector import jobs, objects

    target = settings.target(at)
    namespace = f" -n {settings.namespace}" if settings.namespace else ""
    runs = [
        f"  kubectl{namespace} exec job/{name} -- provision {one}"
        for name in jobs(settings, target)
        for one in COMMANDS
    ]
    write(objects(settings, target, facts, seconds), "\n".join([f"For {seconds} seconds from its start:", *runs]))
