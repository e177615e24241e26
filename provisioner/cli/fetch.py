"""`provision fetch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from provisioner.cli.options import default_store, endpoint_option, store_option
from provisioner.cli.transfers import run, transfer_options

if TYPE_CHECKING:
    from provisioner.render.output import Output


@click.command("fetch", short_help="Bring the locked models from the Hub into the local store.")
@store_option
@endpoint_option
@transfer_options
def command(store: str | None, endpoint: str | None, lock: str, how: dict[str, Any], output: Output) -> None:
    """Bring the locked models from the Hub into the local store.

    The release appears at once, when every byte of it matched the lock. An interrupted run is continued by the next
    one; a second run moves nothing.

    \b
    Examples:
      provision fetch
      provision fetch --dry-run
      HF_ENDPOINT=https://hub.example.org HF_TOKEN=... provision fetch --store /srv/models
    """

    def sources() -> list[Any]:
        from provisioner.sources.hub import HubSource

        return [HubSource(endpoint)]

    run("fetch", lock, store or default_store(), sources, how, output)
