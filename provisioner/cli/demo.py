"""`provision demo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import output_options

if TYPE_CHECKING:
    from provisioner.render.output import Output


@click.command("demo", short_help="Provision a real model end to end on this machine.")
@click.option("--dir", "folder", metavar="DIR", help="Where to work and to keep everything.  [default: nowhere]")
@output_options
def command(folder: str | None, output: Output) -> None:
    """Provision a real model end to end on this machine.

    An embedded Hub serves the real all-MiniLM-L6-v2 (from a Python package, its digests checked); then lock, fetch,
    mirror, verify, env, and an offline load from a read-only tree. Nothing but the package index is needed.

    \b
    Examples:
      make demo      (in a clone: installs what it needs)
      provision demo
      provision demo --dir ./demo && provision releases list --at ./demo/pvc
      provision demo --dir ./demo && provision serve --at ./demo/pvc
    """
    import os
    import tempfile

    from provisioner.demo.steps import Demo
    from provisioner.render.tables import steps_table

    with tempfile.TemporaryDirectory(prefix="provision-demo-") as temporary, output.watching() as observer:
        os.chmod(temporary, 0o755)  # another user loads from it
        demo = Demo(os.path.abspath(folder) if folder else temporary, observer)
        os.makedirs(demo.folder, exist_ok=True)
        demo.run()
    output.result([asdict(step) for step in demo.steps], lambda: steps_table(demo.steps))
    if folder:
        output.note(f"Serve it: provision serve --at {os.path.join(folder, 'pvc')}")
