"""`provision doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import at_option, default_store, output_options, store_option

if TYPE_CHECKING:
    from provisioner.render.output import Output


@click.command("doctor", short_help="Probe a target end to end: what holds, and what to do.")
@at_option
@store_option
@output_options
@click.pass_context
def command(ctx: click.Context, at: str | None, store: str | None, output: Output) -> None:
    """Probe a target end to end: what holds, and what to do.

    Everything that a mirror and a verify need is tried once: the way there, credentials, writing, reading, renaming,
    deleting, clocks, room. What is written lies below staging/ and is deleted again; no release is touched. Exits with
    the code of the worst failure.

    \b
    Examples:
      provision doctor --at pvc
      provision doctor --at s3://models/team
      provision doctor --at azurefiles://account/share --json
    """
    from provisioner.ops.doctor import examination, examine
    from provisioner.render.doctor_table import doctor_table

    health = examine(examination(at or store or default_store()))
    data = asdict(health) | {"ok": health.ok, "exit_code": health.exit_code}
    output.result(data, lambda: doctor_table(health))
    if not health.ok:
        ctx.exit(health.exit_code)
