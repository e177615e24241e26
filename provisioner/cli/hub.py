"""`provision hub`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from provisioner.cli.options import default_store, mounted_option, output_options, store_option

if TYPE_CHECKING:
    from provisioner.render.output import Output
    from provisioner.stores.directory import DirectoryStore


@click.command("hub", short_help="Serve a store as a read-only Hub endpoint.")
@mounted_option
@store_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="The port; 0 takes a free one."
)
@output_options
def command(at: str | None, store: str | None, host: str, port: int, output: Output) -> None:
    """Serve a store as a read-only Hub endpoint, for clients that cannot mount a volume.

    Only published releases are served, and a new one is noticed. There is no access control and no TLS: listen on an
    address that only its clients reach, or put a proxy in front.

    \b
    Examples:
      provision hub --at pvc --host 0.0.0.0
      HF_ENDPOINT=http://127.0.0.1:8765 hf download sentence-transformers/all-MiniLM-L6-v2
    """
    from provisioner.hub import serve

    served = _open(at or store or default_store())
    if not served.releases():
        output.note(f"{served.name} holds no release yet; the first one will be noticed.")
    _log_requests(output.quiet)

    def announce(url: str) -> None:
        output.note(f"Serving {served.name} until Ctrl-C. Clients: export HF_ENDPOINT={url}")
        output.result({"url": url, "store": served.name}, lambda: url)
        sys.stdout.flush()  # whoever started this waits for the address

    serve(served, host, port, announce)


def _open(address: str) -> DirectoryStore:
    import os

    from provisioner.errors import NotFound, UsageError
    from provisioner.stores.directory import DirectoryStore
    from provisioner.stores.targets import open_store

    store = open_store(address)
    if not isinstance(store, DirectoryStore):
        raise UsageError(f"{address} is not a directory.", hint="Mirror it into a directory and serve that.")
    if not os.path.isdir(store.name):
        raise NotFound(f"There is no store at {store.name}.", hint="Check the address; is the volume mounted?")
    return store


def _log_requests(quiet: bool) -> None:
    import logging

    if quiet:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    requests = logging.getLogger("provisioner.hub.accesslog")
    requests.addHandler(handler)
    requests.setLevel(logging.INFO)
    requests.propagate = False
