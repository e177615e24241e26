"""`provision status`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import at_option, default_store, lock_option, output_options, store_option

if TYPE_CHECKING:
    from provisioner.render.output import Output


@click.command("status", short_help="Compare the lock with what a store holds.")
@at_option
@store_option
@lock_option
@click.option("--check", is_flag=True, help="Exit with 3 unless readers see what the lock says.")
@output_options
@click.pass_context
def command(ctx: click.Context, at: str | None, store: str | None, lock: str, check: bool, output: Output) -> None:
    """Compare the lock with what a store holds, by records and sizes; nothing is hashed or written.

    \b
    Examples:
      provision status
      provision status --at pvc --check
    """
    from provisioner.ops.documents import read_lock
    from provisioner.ops.releases import status
    from provisioner.render.tables import status_table
    from provisioner.stores.targets import require_store

    held = read_lock(lock).lock
    result = status(require_store(at or store or default_store()), held)
    output.result(asdict(result) | {"up_to_date": result.up_to_date}, lambda: status_table(result))
    if check and not result.up_to_date:
        ctx.exit(3)
