"""`provision mirror`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import ADDRESSES, default_store, endpoint_option, not_empty, store_option
from provisioner.cli.transfers import run, transfer_options

if TYPE_CHECKING:
    from provisioner.ports.source import Source
    from provisioner.render.output import Output


@click.command("mirror", short_help="Bring the locked models into another store, such as a mounted volume.")
@click.option("--to", metavar="TARGET", required=True, callback=not_empty, help=f"The store to fill: {ADDRESSES}.")
@click.option(
    "--from",
    "origins",
    callback=not_empty,
    metavar="TARGET",
    multiple=True,
    help="Where bytes may come from, in this order: stores, or `hub`.  [default: the local store, then hub]",
)
@store_option
@endpoint_option
@transfer_options
def command(
    to: str,
    origins: tuple[str, ...],
    store: str | None,
    endpoint: str | None,
    lock: str,
    how: dict[str, Any],
    output: Output,
) -> None:
    """Bring the locked models into another store, such as a mounted volume.

    pvc is the volume mounted at PROVISION_PVC_DIR (/mnt/models unless set), nfs the one at PROVISION_NFS_DIR
    (/mnt/nfs). A file missing or damaged in one source is taken from the next. Bytes stream straight into the target,
    whatever both ends are; nothing is staged on this machine's disk.

    \b
    Examples:
      provision mirror --to pvc
      provision mirror --to s3://models/llm --from hub
      provision mirror --to pvc --from minio://minio:9000/models --from hub
      provision mirror --to /srv/nfs/models --from /srv/store --dry-run
      provision mirror --to pvc --mode 0664 --dir-mode 2775
    """

    def sources() -> list[Source]:
        from provisioner.ops.chain import open_sources

        chain = origins or ((local, "hub") if os.path.isdir(local := store or default_store()) else ("hub",))
        return open_sources(chain, endpoint, output.warn)

    run("mirror", lock, to, sources, how, output)
