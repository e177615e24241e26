"""`provision fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import default_store, endpoint_option, not_empty, store_option
from provisioner.cli.transfers import run, transfer_options

if TYPE_CHECKING:
    from provisioner.ports.source import Source
    from provisioner.render.output import Output


@click.command("fetch", short_help="Bring the locked models from the Hub into the local store.")
@click.option(
    "--from",
    "origins",
    callback=not_empty,
    metavar="TARGET",
    multiple=True,
    default=("hub",),
    help="Where bytes may come from, in this order: stores, or `hub`.  [default: hub]",
)
@store_option
@endpoint_option
@transfer_options
def command(
    origins: tuple[str, ...], store: str | None, endpoint: str | None, lock: str, how: dict[str, Any], output: Output
) -> None:
    """Bring the locked models from the Hub into the local store.

    The release appears at once, when every byte of it matched the lock. An interrupted run is continued by the next
    one; a second run moves nothing. With --from the bytes come from a store instead, such as a bucket that was filled
    where there is internet.

    \b
    Examples:
      provision fetch
      provision fetch --dry-run
      provision fetch --from minio://minio:9000/models --from hub
      HF_ENDPOINT=https://hub.example.org HF_TOKEN=... provision fetch --store /srv/models
    """

    def sources() -> list[Source]:
        from provisioner.ops.chain import open_sources

        return open_sources(origins, endpoint, output.warn)

    run("fetch", lock, store or default_store(), sources, how, output)
